"""Random models of any shape, and random adapters: for parity with other tools and for the benchmark.

Tensors are written one by one as they are drawn, so that a model larger than memory can be made; parameter
names and shapes come from transformers itself, on the meta device, so every architecture it knows will do.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from llmcourse.testing.models.sharding import TensorSpec, write_shards

_TOKENIZER_FILES: Final = (
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)
_STD: Final = 0.02


def build_random_llama(
    folder: Path,
    *,
    hidden: int = 64,
    layers: int = 2,
    intermediate: int = 128,
    vocab: int = 2048,
    heads: int = 4,
    kv_heads: int | None = None,
    dtype: str = "bfloat16",
    seed: int = 0,
    shard_bytes: int | None = None,
    tokenizer_from: Path | None = None,
    architecture: str = "llama",
    tie_word_embeddings: bool = False,
) -> Path:
    """Write a model with random weights and return `folder`.

    Args:
        kv_heads: default `heads`; without meaning for "gpt2".
        dtype: a torch name: "bfloat16", "float16" or "float32".
        shard_bytes: the most that one file holds (a larger tensor gets a file of its own); default one file.
        tokenizer_from: a model folder whose tokenizer files are copied.
        architecture: a `model_type` of transformers ("llama", "mistral", "qwen2", "gpt2" are tried).
    """
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocab,
        tie_word_embeddings=tie_word_embeddings,
        bos_token_id=1,
        eos_token_id=2,
        **_shape_keys(architecture, hidden, layers, intermediate, heads, kv_heads or heads),
    )
    config.dtype = getattr(torch, dtype)
    with torch.device("meta"):
        model: PreTrainedModel
        model = AutoModelForCausalLM.from_config(config, dtype=config.dtype)  # type: ignore[no-untyped-call]
    config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    specs = [TensorSpec(name, tuple(meta.shape), meta.dtype) for name, meta in _stored(model, config)]
    write_shards(folder, specs, _draw(specs, seed), shard_bytes)
    if tokenizer_from is not None:
        copy_tokenizer(tokenizer_from, folder)
    return folder


def build_lora(folder: Path, base: Path, *, rank: int = 4, seed: int = 0) -> Path:
    """Write a random peft adapter for the attention of `base` and return `folder`.

    Neither of its factors is zero, so unlike a fresh adapter it changes what the model says.
    """
    from peft import LoraConfig, get_peft_model  # half a second that random models do not need

    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
        init_lora_weights=False,
        base_model_name_or_path=str(base),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = get_peft_model(model, config)
    adapter.save_pretrained(folder)
    return folder


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy whichever tokenizer files `source` has."""
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy2(source / name, folder / name)


def _shape_keys(
    architecture: str, hidden: int, layers: int, intermediate: int, heads: int, kv_heads: int
) -> dict[str, int]:
    if architecture == "gpt2":
        return {"n_embd": hidden, "n_layer": layers, "n_inner": intermediate, "n_head": heads}
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
    }


def _stored(model: PreTrainedModel, config: PreTrainedConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters in the order of the model; those that share another's storage are not written."""
    for name, parameter in model.named_parameters():  # yields a tied parameter once, under its first name
        if not (config.tie_word_embeddings and name == "lm_head.weight"):
            yield name, parameter


def _draw(specs: list[TensorSpec], seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for spec in specs:
        tensor = torch.empty(spec.shape, dtype=spec.dtype).normal_(std=_STD, generator=generator)
        if len(spec.shape) == 1 and spec.name.endswith("weight"):
            tensor += 1  # gains of norms
        yield tensor
