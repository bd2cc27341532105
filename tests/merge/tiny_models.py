"""Tiny random models of many architectures as transformers publishes them, and the child that merges them."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from llmcourse.core.isolated import Job, Worker
from llmcourse.merge.config import Config
from tests.merge.builders import config as parsed

_SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
}  # fmt: skip
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mixtral": _EXPERTS,
    "qwen2_moe": _EXPERTS | {"shared_expert_intermediate_size": 48, "decoder_sparse_step": 1},
    "qwen3_moe": _EXPERTS | {"decoder_sparse_step": 1},
    "glm4_moe": _EXPERTS | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "deepseek_v3": _EXPERTS
    | {"first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16,
       "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 4},
    "olmoe": _EXPERTS,
    "granitemoe": _EXPERTS,
}  # fmt: skip


def build(folder: Path, architecture: str, seed: int = 0, **changes: Any) -> Path:
    """Write a model in bfloat16, without a tokenizer."""
    torch.manual_seed(seed)
    settings = _SIZES | ARCHITECTURES[architecture] | changes
    made: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings))  # type: ignore[no-untyped-call]
    made.to(torch.bfloat16).save_pretrained(folder)
    return folder


@dataclass
class Mergers:
    """A child of `llmcourse merge`, kept for several jobs; each result is a folder of its own."""

    worker: Worker
    folder: Path

    def merged(self, recipe: str, **inputs: Path) -> Path:
        """Run a recipe whose models are named by the keywords."""
        list(self.worker.run(self.job(recipe, {}, inputs)))
        return self.folder / "files"

    def answer(self, recipe: str, asked: Mapping[str, Any], **inputs: Path) -> dict[str, Any]:
        """What the child answers to a plan's questions."""
        return self.worker.ask(self.job(recipe, asked, inputs), lambda event: None)

    def job(self, recipe: str, asked: Mapping[str, Any], inputs: Mapping[str, Path]) -> Job:
        config: Config = parsed(recipe)
        files, scratch = self.folder / "files", self.folder / "scratch"
        for path in (files, scratch):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        document = config.model_dump(mode="json")
        options = {"copy_tokenizer": False} | config.options.model_dump(exclude_unset=True)
        settings = {"options": options, **asked}
        return Job(document, settings, {name: str(path) for name, path in inputs.items()}, files, scratch)


@contextmanager
def merging(folder: Path) -> Iterator[Mergers]:
    with (folder / "log").open("wb") as log:
        worker = Worker("llmcourse.merge.run", log, False, loading=None)
        try:
            yield Mergers(worker, folder / "job")
        finally:
            worker.stop()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def loaded(folder: Path) -> Any:
    """The model that transformers reads, with nothing missing in its files and nothing left over."""
    read: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model, info = read
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model
