"""Whether groups and packed words divide every layer, and whether each expression of `modules` is of use.

What a fix here names is complete: with it, nothing of this page is wrong any more.
"""

import re
from collections.abc import Iterator, Sequence

from llmcourse.core.errors import ConfigError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail, warn
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.layout import Linear, linears, wishes_for, with_modules_left

_PACK = 32  # words of 32 bits hold whole weights of as many rows and columns
_CLIPPED = 64  # AWQ clips the weights of as many rows at once (gptqmodel 7.6, looper/awq_processor.py)
_GROUPS = (128, 64, 32)
_AWQ_GROUPS = (-1, 16, 32, 64, 128)  # gptqmodel 7.6, nn_modules/qlinear/torch_awq.py


def shape_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    """Problems of the layers' shapes, from the headers."""
    layers = list(linears(model))
    if not layers and not model.is_pickled and not model.is_adapter:
        yield fail(
            config.model,
            f"{config.model} has no linear layers that could be quantized.",
            "Give a causal language model in Hugging Face format.",
        )
    chosen = [layer for layer in layers if wishes_for(config, layer.module)]
    if layers and not chosen:
        yield fail(
            "modules",
            "All modules are left as they are.",
            "Leave one of the expressions out.",
            ConfigError.exit_code,
        )
    packed = [layer for layer in chosen if not _is_odd(config, layer)]
    if len(packed) < len(chosen):
        yield _odd_check(config, [layer for layer in chosen if _is_odd(config, layer)], packed)
    yield from _group_checks(config, packed)
    for pattern in config.modules:
        alone = config.model_copy(update={"modules": {pattern: config.modules[pattern]}})
        usual = config.model_copy(update={"modules": {}})
        # Experts are often stored under other names, or in one tensor: the run looks at these.
        has_experts = any("experts" in name for name in model.tensors)
        if (
            layers
            and not has_experts
            and all(wishes_for(alone, la.module) == wishes_for(usual, la.module) for la in layers)
        ):
            yield warn(
                "modules",
                f"{pattern!r} changes nothing: no module of its name has other wishes.",
                f"Names are like {layers[0].module}.",
            )


def _is_odd(config: Config, layer: Linear) -> bool:
    rows = _CLIPPED if config.method == "awq" else _PACK
    return bool(layer.rows % rows or layer.columns % _PACK)


def _odd_check(config: Config, odd: Sequence[Linear], packed: Sequence[Linear]) -> Check:
    """Layers that cannot be packed at all, whatever the groups."""
    needed = f"multiples of {_PACK}"
    if config.method == "awq":
        needed = f"multiples of {_CLIPPED} rows and {_PACK} columns"
    others = f" (and {len(odd) - 1} other layers)" if odd[1:] else ""
    name = "AWQ" if config.method == "awq" else "GPTQ"
    what = f"{odd[0].module}{others} is {odd[0].rows} x {odd[0].columns}; {name} packs {needed} only."
    if not packed:
        return fail(config.model, what, "Use quantize-gguf, which stores such layers in another type.")
    names = dict.fromkeys(rf"\b{layer.module.rpartition('.')[2]}$" for layer in odd)
    alike = config.model_copy(update={"modules": {}})
    if any(not _is_odd(alike, la) and la.module.endswith(tuple(n[2:-1] for n in names)) for la in packed):
        names = dict.fromkeys(layer.module + "$" for layer in odd)  # of some layers only
    return fail("modules", what, f"Leave out what does not fit: modules: {with_modules_left(config, names)}.")


def _group_checks(config: Config, packed: Sequence[Linear]) -> Iterator[Check]:
    """Groups that do not divide the columns; a fix names one that divides those of all such layers."""
    if config.method == "awq":
        sizes = [config.group_size, *(wish.group_size for wish in config.modules.values() if wish)]
        strange = [size for size in sizes if size is not None and size not in _AWQ_GROUPS]
        if strange:
            fix = f"Use {_fitting(packed)} or less, or method: gptq."
            yield fail("group_size", f"AWQ has no groups of {strange[0]}.", fix, ConfigError.exit_code)
            return
    by_place: dict[str, list[Linear]] = {}
    for layer in packed:
        by_place.setdefault(_place(config, layer), []).append(layer)
    for place, layers in by_place.items():
        group = (wishes_for(config, layers[0].module) or {})["group_size"]
        wrong = [layer for layer in layers if group != -1 and layer.columns % group]
        if wrong:
            yield fail(
                place,
                f"Groups of {group} do not divide the {wrong[0].columns} columns of {wrong[0].module}.",
                f"Set {place}={_fitting(layers)}.",
            )


def _fitting(layers: Sequence[Linear]) -> int:
    return next(size for size in _GROUPS if all(layer.columns % size == 0 for layer in layers))


def _place(config: Config, layer: Linear) -> str:
    """The key that has this layer's groups."""
    for pattern, wish in config.modules.items():
        if re.search(pattern, layer.module):
            has_own = wish is not None and wish.group_size is not None
            return f"modules.{pattern}.group_size" if has_own else "group_size"
    return "group_size"
