"""Whether a LoRA is for the model that it is written beside, from the headers of both."""

import re
from collections.abc import Iterator, Mapping

from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.core.plan import Check, fail

_WHOLE = re.compile(r"^base_model\.model\.(.+?)(?:\.modules_to_save(?:\.default)?)?\.weight$")
_LOW_RANK = re.compile(r"^base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight$")


def lora_checks(name: str, adapter: ModelFacts, base_name: str, base: ModelFacts) -> Iterator[Check]:
    """Tensors of the adapter that fit none of the base: token rows, sides of matrices, modules."""
    targets, other = 0, []
    for key, tensor in adapter.tensors.items():
        low, whole = _LOW_RANK.match(key), _WHOLE.match(key)
        module = low[1] if low else whole[1] if whole else None
        mine = base.tensors.get(f"{module}.weight")
        if low and low[2] == "A":
            targets += 1
            other += [] if mine else [module]
        if mine is None or len(mine.shape) != 2 or len(tensor.shape) != 2:
            continue
        if whole and not low and tensor.shape != mine.shape:
            yield _rows_check(name, tensor, base_name, mine, str(module))
            return
        is_turned = bool(adapter.config.get("fan_in_fan_out"))
        if low and not is_turned and not _fits(low[2], tensor, mine):
            yield fail(
                name,
                f"{name} is for another model than {base_name}: its {module} has {_sides(low[2], tensor)}, "
                f"where {base_name} has {mine.shape[0]:,} rows and {mine.shape[1]:,} columns.",
                _for_which(adapter.config),
            )
            return
    if targets and len(other) == targets and base.tensors:
        yield fail(
            name,
            f"{name} is for another model than {base_name}, which has no {other[0]}.",
            _for_which(adapter.config),
        )


def _fits(side: str, tensor: Tensor, mine: Tensor) -> bool:
    return tensor.shape[1] == mine.shape[1] if side == "A" else tensor.shape[0] == mine.shape[0]


def _sides(side: str, tensor: Tensor) -> str:
    return f"{tensor.shape[1]:,} columns" if side == "A" else f"{tensor.shape[0]:,} rows"


def _rows_check(name: str, tensor: Tensor, base_name: str, mine: Tensor, module: str) -> Check:
    return fail(
        name,
        f"{name} was trained with {tensor.shape[0]:,} tokens ({module}), "
        f"and {base_name} has {mine.shape[0]:,}.",
        f"Give a base with as many: load {base_name} in transformers, resize_token_embeddings("
        f"{tensor.shape[0]}), save_pretrained, and write that before the +.",
    )


def _for_which(config: Mapping[str, object]) -> str:
    named = config.get("base_model_name_or_path")
    return f"Write it beside its own base: {named}." if named else "Write it beside its own base."
