"""Mixtures of experts through mergekit-moe's own builder; imported only when a document is one."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mergekit.io import TensorWriter
from mergekit.moe import common, deepseek, mixtral, qwen, qwen3
from mergekit.moe.config import MoEMergeConfig
from mergekit.options import MergeOptions
from mergekit.scripts.moe import build

from llmcourse.core.errors import LibraryError
from llmcourse.core.workspace import write_json
from llmcourse.merge.published_layout import PublishedLayout
from llmcourse.merge.seed import seed_all


def make_mixture(document: dict[str, Any], folder: Path, options: MergeOptions) -> None:
    """Build the mixture that a mergekit-moe document describes into `folder`.

    Raises:
        LibraryError: mergekit refuses the config, for the reason that it logged.
    """
    if options.random_seed is not None:
        seed_all(options.random_seed)
    config = MoEMergeConfig.model_validate(document)
    with _published_layout(), _all_loaders(), _reasons():
        build(
            config, out_path=str(folder), merge_options=options, device=options.device or "cpu", verbose=True
        )


# Of these llama.cpp loads none without a matrix for the output, and none is published so.
_NEVER_TIED = ("qwen2_moe", "deepseek")


class _PublishedWriter(TensorWriter):  # type: ignore[misc]
    """mergekit's writer, but experts are written as models of their kind are published."""

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
        path = Path(self.out_path) / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        for part, value in PublishedLayout(config.get("model_type")).written(name, tensor).items():
            super().save_tensor(part, value.contiguous(), clone=clone)
        is_tied = config.get("tie_word_embeddings") and config.get("model_type") in _NEVER_TIED
        if is_tied and name == "model.embed_tokens.weight":
            super().save_tensor("lm_head.weight", tensor.clone(), clone=clone)
            write_json(path, config | {"tie_word_embeddings": False})


@contextmanager
def _published_layout() -> Iterator[None]:
    theirs = common.TensorWriter
    common.TensorWriter = _PublishedWriter
    try:
        yield
    finally:
        common.TensorWriter = theirs


@contextmanager
def _all_loaders() -> Iterator[None]:
    """mergekit opens base and experts, and then looks for the shared experts' models among them alone."""
    theirs = common.initialize_io

    def initialize_io(config: MoEMergeConfig, out_path: str, options: MergeOptions) -> Any:
        loaders, base, writer = theirs(config, out_path, options)
        for expert in config.shared_experts or []:
            if expert.source_model not in loaders:
                loaders[expert.source_model] = expert.source_model.lazy_loader(
                    cache_dir=options.transformers_cache, lazy_unpickle=options.lazy_unpickle
                )
        return loaders, base, writer

    modules = (deepseek, mixtral, qwen, qwen3)
    for module in modules:
        module.initialize_io = initialize_io
    try:
        yield
    finally:
        for module in modules:
            module.initialize_io = theirs


@contextmanager
def _reasons() -> Iterator[None]:
    """mergekit says in its log why it refuses, and exits with a number."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    listener = Listener(logging.WARNING)
    logging.getLogger().addHandler(listener)
    try:
        yield
    except SystemExit as error:
        reason = said[0].rstrip(".") if said else f"exit status {error.code}"
        raise LibraryError(f"mergekit makes no mixture of this: {reason}.", "Correct the recipe.") from error
    finally:
        logging.getLogger().removeHandler(listener)
