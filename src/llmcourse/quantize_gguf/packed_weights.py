"""Quantized models as input: those whose codes llama.cpp's converter reads back into numbers, and no others.

Source: `dequant_model` in conversion/base.py of llama.cpp (llama-cpp-python 0.3.36).  Every layout that is
let through here was converted and compared with what its codes stand for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import weights_checks
from llmcourse.core.plan import Check, fail, warn
from llmcourse.core.quantized import Quantization, quantization_of, stated_config, what_instead

# Architectures whose class in the converter reads a layout of its own.
_OWN_LAYOUTS = ("DeepseekV4ForCausalLM", "MiMoV2FlashForCausalLM", "KimiK3ForConditionalGeneration")
_PLAIN_CT = ("float-quantized", "int-quantized", "naive-quantized")


def packed_weights_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    found = quantization_of(model)
    if found is None:
        yield from weights_checks(name, model)
        return
    problem = _problem(model, found)
    if problem:
        yield fail(
            name,
            f"{name} is quantized ({found.label}): {found.evidence}. {problem}",
            what_instead(model, found),
        )
    else:
        yield warn(
            name,
            f"{name} is quantized already ({found.label}); what that lost is lost in its GGUFs too.",
        )


def _problem(model: ModelFacts, found: Quantization) -> str | None:
    """Why the converter would not read these codes, or would read them wrongly; None where it reads them."""
    stated = stated_config(model)
    if stated is None:
        return "Its config.json does not say how, so llama.cpp's converter would take the codes for weights."
    if model.architecture in _OWN_LAYOUTS:
        return None
    check = _CHECKS.get(found.method or "")
    return check(model, stated) if check else "llama.cpp's converter does not read this layout."


def _fp8(model: ModelFacts, _: Mapping[str, Any]) -> str | None:
    scaled = {name.removesuffix("_scale_inv") for name in model.tensors if name.endswith("_scale_inv")}
    scaled |= {name.removesuffix(".qscale_weight") + ".weight" for name in model.tensors
               if name.endswith(".qscale_weight")}  # fmt: skip
    bare = [
        name for name, tensor in model.tensors.items() if tensor.dtype[:4] == "F8_E" and name not in scaled
    ]
    bare = [name for name in bare if not name.endswith("_scale_inv")]
    return f"{bare[0]} has no scale beside it that llama.cpp's converter knows." if bare else None


def _gptq(model: ModelFacts, stated: Mapping[str, Any]) -> str | None:
    if stated.get("bits") not in (2, 4, 8):
        return f"llama.cpp's converter does not read {stated.get('bits')} bits of GPTQ."
    if stated.get("dynamic"):
        return "Its layers have different bits, which llama.cpp's converter does not know of."
    if stated.get("checkpoint_format", "gptq") not in ("gptq", "gptq_v2"):
        return f"llama.cpp's converter does not read {stated['checkpoint_format']!r} of GPTQ."
    layers = [name.removesuffix(".qweight") for name in model.tensors if name.endswith(".qweight")]
    bare = [layer for layer in layers if f"{layer}.g_idx" not in model.tensors]
    return "llama.cpp's converter needs the g_idx that it does not have." if bare else None


def _compressed_tensors(model: ModelFacts, stated: Mapping[str, Any]) -> str | None:
    groups = stated.get("config_groups")
    found = [group.get("weights") for group in groups.values()] if isinstance(groups, Mapping) else []
    if len(found) != 1 or not isinstance(found[0], Mapping):
        return "llama.cpp's converter reads one group of settings only."
    weights, kind = found[0], stated.get("format")
    strategy = weights.get("strategy")
    if kind in _PLAIN_CT and strategy in ("channel", "block") and weights.get("group_size") is None:
        if strategy == "block" and not weights.get("block_structure"):
            return "Its config.json does not say the size of its blocks."
        return None
    if kind == "pack-quantized" and strategy == "group" and weights.get("type", "int") == "int":
        is_ordered = any(name.endswith(".weight_g_idx") for name in model.tensors)
        return (
            "Its columns are in another order (actorder), which the converter does not undo."
            if is_ordered
            else None
        )
    return f"llama.cpp's converter does not read {kind} with the strategy {strategy}."


def _modelopt(model: ModelFacts, _: Mapping[str, Any]) -> str | None:
    is_fp4 = any(name.endswith(".weight_scale_2") for name in model.tensors)
    return "llama.cpp takes NVFP4 over as it is and makes no other type of it." if is_fp4 else None


def _mxfp4(model: ModelFacts, _: Mapping[str, Any]) -> str | None:
    return (
        None
        if model.architecture == "GptOssForCausalLM"
        else "llama.cpp's converter reads it of gpt-oss only."
    )


_CHECKS = {
    "fp8": _fp8,
    "gptq": _gptq,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
}
