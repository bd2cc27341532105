"""Experts under the names and in the shapes that a model is published with, instead of transformers' own.

transformers 5 holds the experts of a layer in two tensors, and mergekit writes what it merges under the names
that transformers has in memory.  Whoever reads checkpoints themselves (llama.cpp's converter, vLLM,
exllamav2) knows the layout a model was published in, with matrices of each expert; so that is written, as
`save_pretrained` does it, by the same rules of transformers read backwards.

Source: transformers 5.23 (core_model_loading.py: `revert_weight_conversion`), mergekit 0.1.5 (io/tasks.py).
"""

from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from transformers import core_model_loading as loading
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

from llmcourse.core.errors import LibraryError

_FUSED = (".experts.gate_up_proj", ".experts.down_proj")
# Published with the experts of a layer in one tensor, and read so by llama.cpp.
_PUBLISHED_FUSED = ("qwen3_5_moe", "qwen3_5_moe_text")


class PublishedLayout:
    """How tensors of one model type are written.

    Args:
        model_type: of the result's config.json.

    Raises:
        LibraryError: the installed transformers has no such rules.
    """

    def __init__(self, model_type: str | None) -> None:
        self._rules = None if model_type in _PUBLISHED_FUSED else _rules(model_type)

    def written(self, name: str, tensor: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """The tensors, views where they can be, that are written in place of one."""
        if self._rules is None:
            return {name: tensor}
        parts: Mapping[str, torch.Tensor] = loading.revert_weight_conversion(self._rules, {name: tensor})
        return parts


@cache
def _rules(model_type: str | None) -> Any:
    """What `revert_weight_conversion` asks of a model; None where experts are no matter of this type."""
    known: list[Any] = get_checkpoint_conversion_mapping(model_type) or []  # type: ignore[no-untyped-call]
    try:
        rules = [rule for rule in known if not isinstance(rule, loading.PrefixChange)]
        converters = [rule for rule in rules if isinstance(rule, loading.WeightConverter)]
        _ = loading.revert_weight_conversion
    except AttributeError as error:
        raise LibraryError(
            f"This transformers does not say how models are published ({error}).",
            'Install the version that this llmcourse was made with: pip install "llmcourse[merge]".',
        ) from error
    if not all(target.endswith(_FUSED) for rule in converters for target in _targets(rule)):
        return None
    # Granite's experts are published as one tensor, under another name.
    if not any(target.endswith(_FUSED) for rule in rules for target in _targets(rule)):
        return None
    return SimpleNamespace(_weight_conversions=rules, config=None)


def _targets(rule: Any) -> list[str]:
    return [f".{target.lstrip('.')}" for target in rule.target_patterns]
