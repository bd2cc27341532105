"""A model that thinks first, and prompts that do not fit: the same by transformers and by llama.cpp."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.results import TaskResult, result_path
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli

pytestmark = pytest.mark.slow

CONTEXT = 512
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
)
# question, the number in the thought, the number in the answer
QUESTIONS = [
    ("How many legs have two cats?", 6, 8),
    ("How many days has a week?", 5, 7),
    ("What is 3 times 4?", 34, 12),
    ("How many eggs are a dozen?", 10, 12),
]
_CONFIGS = "configs:\n- config_name: main\n  data_files:\n" + "".join(
    f"  - {{split: {split}, path: main/{split}-*}}\n" for split in ("train", "test")
)


def thinker(folder: Path, *, is_special: bool) -> Path:
    """A tiny model that was taught four answers, each after a thought with a wrong one and a stop word."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([question for question, _, _ in QUESTIONS], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    data = json.loads((folder / "tokenizer.json").read_text())
    for item in data["added_tokens"]:
        item["special"] = is_special or "think" not in item["content"]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    known = AutoTokenizer.from_pretrained(folder)
    rows = []
    for question, wrong, right in QUESTIONS:
        chat = [{"role": "user", "content": f"Question: {question}\nAnswer:"}]
        asked = str(known.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        taught = (
            f"<think>\nMaybe #### {wrong}\nQuestion: is it?\n</think>\n\nIt is #### {right}<|im_end|></s>"
        )
        rows.append(known(asked + taught, add_special_tokens=False)["input_ids"])
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(known), max_position_embeddings=CONTEXT, eos_token_id=0, bos_token_id=None,
            **sizes, **heads,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(240):
        ids = torch.tensor([rows[step % len(rows)]])
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    import pyarrow
    from pyarrow import parquet

    rows = [{"question": question, "answer": f"#### {right}"} for question, _, right in QUESTIONS]
    made = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), made)
    with LoopbackHub(tmp_path_factory.mktemp("hub")) as hub:
        hub.repo("openai/gsm8k", "dataset").add_files(
            {"README.md": f"---\n{_CONFIGS}---\n".encode()}
            | {f"main/{split}-00000-of-00001.parquet": made.getvalue() for split in ("train", "test")}
        )
        yield hub


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Cli:
    folder = tmp_path_factory.mktemp("cli")
    return Cli(folder, hub.env(home=folder / "hf-home"))


@pytest.fixture(scope="module", params=[True, False], ids=["special", "plain"])
def models(request: pytest.FixtureRequest, cli: Cli) -> list[Path]:
    """The folder, and the GGUF file made of it; what ends a thought is a special token, or is not."""
    name = "special" if request.param else "plain"
    folder = thinker(cli.folder / name, is_special=request.param)
    (cli.folder / "g.yaml").write_text(f"model: {folder}\ntypes: [F32]\n")
    made = cli("quantize-gguf", "g.yaml", "-o", f"{name}-gguf")
    assert made.exit_code == 0, made.stderr
    return [folder, *(cli.folder / f"{name}-gguf").glob("*.gguf")]


def evaluated(cli: Cli, models: list[Path], name: str, runtime: str) -> list[TaskResult]:
    task = "{name: gsm8k, fewshot: 0, metric: 'exact_match,strict-match'}"
    (cli.folder / f"{name}.yaml").write_text(
        f"model: {json.dumps([str(model) for model in models])}\ntasks: [{task}]\n"
        f"runtime: {{apply_chat_template: true, dtype: float32, {runtime}}}\n"
    )
    made = cli("autoeval", f"{name}.yaml", "-o", name, "--json", "--force")
    assert made.exit_code == 0, made.stderr
    names = [found["name"] for found in made.json["details"]["models"]]
    return [TaskResult.read(cli.folder / name / result_path(model, "gsm8k")) for model in names]


def test_the_answer_after_the_thought_counts_though_it_holds_stop_words(cli: Cli, models: list[Path]) -> None:
    found = evaluated(cli, models, "ends", "think_end_token: </think>, gen_kwargs: {max_gen_toks: 64}")
    assert [result.metrics["exact_match,strict-match"] for result in found] == [1.0, 1.0]
    assert [result.unfinished_thoughts for result in found] == [None, None]


def test_without_what_ends_it_the_thought_is_scored(cli: Cli, models: list[Path]) -> None:
    found = evaluated(cli, models, "open", "gen_kwargs: {max_gen_toks: 64}")
    assert [result.metrics["exact_match,strict-match"] for result in found] == [0.0, 0.0]


def test_a_thought_that_does_not_end_is_counted(cli: Cli, models: list[Path]) -> None:
    found = evaluated(cli, models, "short", "think_end_token: </think>, gen_kwargs: {max_gen_toks: 4}")
    assert [result.unfinished_thoughts for result in found] == [4, 4]


def test_prompts_lose_their_beginning_alike_and_it_is_told(cli: Cli, models: list[Path]) -> None:
    """16 tokens are left of each prompt."""
    runtime = "max_length: 32, gen_kwargs: {max_gen_toks: 16}"
    exact, gguf = evaluated(cli, models, "cut", runtime)
    assert exact.truncated == gguf.truncated and exact.truncated["prompts"] == 4
    summary = (cli.folder / "cut" / "summary.md").read_text()
    assert summary.count(f"gsm8k: 4 prompts lost {exact.truncated['tokens']} tokens at the front") == 2
