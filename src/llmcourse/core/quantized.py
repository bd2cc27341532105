"""Whether a model's files hold weights, or packed codes of a quantization that stand for weights.

Two places say it: the configuration, wherever a tool writes it, and the tensors themselves, by name and
dtype.  The tensors decide where they can be seen: a config.json may have been stripped of what it said, or
may still say it of weights that were written out in full again.

Source: the quantizers of transformers 5.23 (quantizers/auto.py) and the layouts that their libraries save.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmcourse.core.model import ModelFacts

# Parts of config.json that are configurations of their own.
_INNER = ("text_config", "llm_config", "language_config", "thinker_config", "lm_config")
_KEYS = ("quantization_config", "compression_config", "quantization")
# Files beside config.json, by what their being there means where they name no method.
BESIDE = {"quantize_config.json": "GPTQ", "quant_config.json": "AWQ", "hf_quant_config.json": "ModelOpt"}

# Endings of tensor names that only a quantized layout has, the most telling first.
_NAMES = (
    (re.compile(r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__\w+)$"),
     "bitsandbytes 4-bit"),
    (re.compile(r"\.(SCB|weight_format)$"), "LLM.int8 (bitsandbytes)"),
    (re.compile(r"\.(q_weight|q_scale|q_groups|q_invperm)$"), "EXL2"),
    (re.compile(r"\.(trellis|suh|svh)$"), "EXL3"),
    (re.compile(r"\.g_idx$"), "GPTQ"),
    (re.compile(r"\.(codebooks|codes)$"), "AQLM"),
    (re.compile(r"\.weight_(packed|global_scale|shape|zero_point)$"), "compressed-tensors"),
    (re.compile(r"\.weight_scale_2$"), "NVFP4"),
    (re.compile(r"_blocks$"), "MXFP4"),
    (re.compile(r"(weight_scale_inv|_proj_scale_inv|\.qscale_weight)$"), "block FP8"),
    (re.compile(r"\.(W_q|W_nbits)$"), "HQQ"),
    (re.compile(r"(_weight_qdata|weight\._qdata|\.tensor_impl\.\w+)$"), "torchao"),
    (re.compile(r"\.weight\._(data|scale|shift)$"), "quanto"),
    (re.compile(r"\.(qweight|qzeros|qscales)$"), "AWQ or GPTQ"),
)  # fmt: skip
# Dtypes that hold codes where the tensor is a matrix; masks and position numbers are BOOL, U8 or I64.
_CODES = ("I8", "I16", "I32", "U8", "U16", "U32")
_MATRIX = re.compile(r"(\.weight|_proj|_blocks|\.qweight|\.weight_packed|experts\.\w+)$")
_LABELS = {
    "fp8": "FP8", "mxfp4": "MXFP4", "gptq": "GPTQ", "awq": "AWQ", "hqq": "HQQ", "eetq": "EETQ",
    "aqlm": "AQLM",
    "fbgemm_fp8": "FBGEMM FP8", "bitnet": "BitNet", "modelopt": "ModelOpt", "fp_quant": "FP-Quant",
    "auto-round": "AutoRound", "bitsandbytes": "bitsandbytes", "exl2": "EXL2", "exl3": "EXL3", "mlx": "MLX",
    "bitsandbytes_4bit": "bitsandbytes 4-bit", "bitsandbytes_8bit": "LLM.int8 (bitsandbytes)",
}  # fmt: skip
# Those that transformers can load as weights again: what it takes for that, to be written down once.
_WRITTEN_OUT = {"fp8": "FineGrainedFP8Config(dequantize=True)", "mxfp4": "Mxfp4Config(dequantize=True)"}


@dataclass(frozen=True)
class Quantization:
    """What a model's files hold instead of weights.

    `label` is its name for people; `method` the `quant_method` that a configuration states, None where none
    does; `evidence` what shows it: a tensor with its dtype, or the place that says it.
    """

    label: str
    method: str | None
    evidence: str


def quantization_of(model: ModelFacts) -> Quantization | None:
    """How the tensors are quantized, by themselves or, where they cannot be seen, by what is stated."""
    stated = stated_quantization(model)
    found = next(iter(packed_tensors(model)), None)
    if found is None and (stated is None or model.tensors):
        return None
    method = stated[0] if stated else None
    label = _LABELS.get(method or "", method)
    if found:
        name, seen = found
        tensor = model.tensors[name]
        precise = seen if method in (None, "fp8") else label
        return Quantization(str(precise), method, f"{name} is {tensor.dtype}")
    assert stated is not None
    return Quantization(label or "quantized", method, f"{stated[1]} says so")


def left_over_statement(model: ModelFacts) -> str | None:
    """The place that says quantized of weights that are written out; None where nothing says so."""
    stated = stated_quantization(model)
    is_plain = bool(model.tensors) and next(iter(packed_tensors(model)), None) is None
    # BitNet is trained with its quantization, computed from weights in full: it belongs to the model.
    return stated[1] if stated and is_plain and stated[0] != "bitnet" else None


def stated_quantization(model: ModelFacts) -> tuple[str | None, str] | None:
    """The method that a configuration names (None where it names none), and where that stands."""
    for place, config in _configs(model.config):
        for key in _KEYS:
            value = config.get(key)
            if (value and isinstance(value, Mapping)) or (key == _KEYS[0] and value is not None):
                return _method(key, value), f"{place}{key} in config.json"
    beside = next((name for name in BESIDE if name in model.files), None)
    return (BESIDE[beside].lower(), beside) if beside else None


def stated_config(model: ModelFacts) -> Mapping[str, Any] | None:
    """The quantization_config of config.json, or of its part about text; None where there is none."""
    found = (config.get("quantization_config") for _, config in _configs(model.config))
    return next((value for value in found if value and isinstance(value, Mapping)), None)


def stated_method(config: Mapping[str, Any]) -> str | None:
    """The `quant_method` that a config.json names, None where it names none."""
    values = (part.get("quantization_config") for _, part in _configs(config))
    found = next((value for value in values if isinstance(value, Mapping)), {})
    return _method(_KEYS[0], found) if found else None


def without_statement(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config.json for weights in full: what it says of a quantization left out."""
    kept = {key: value for key, value in config.items() if key not in _KEYS or not isinstance(value, Mapping)}
    inner = {key: without_statement(kept[key]) for key in _INNER if isinstance(kept.get(key), Mapping)}
    return kept | inner


def _configs(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", config
    for key in _INNER:
        inner = config.get(key)
        if isinstance(inner, Mapping):
            yield from ((f"{key}.{place}", found) for place, found in _configs(inner))


def _method(key: str, value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return None
    stated = value.get("quant_method")
    if stated == "bitsandbytes" or "load_in_4bit" in value or "load_in_8bit" in value:
        bits = 4 if value.get("load_in_4bit") or value.get("_load_in_4bit") else 8
        return f"bitsandbytes_{bits}bit"
    if isinstance(stated, str):
        return stated
    if key == "compression_config":
        return "compressed-tensors"
    return "mlx" if key == "quantization" and "group_size" in value else None


def packed_tensors(model: ModelFacts) -> Iterator[tuple[str, str]]:
    """Names of tensors that hold codes or belong to them, with the layout that each shows; matrices first."""
    later = []
    for name, tensor in model.tensors.items():
        is_narrow = tensor.dtype.startswith(("F4", "F6", "F8"))
        is_coded = tensor.dtype in _CODES and len(tensor.shape) > 1 and _MATRIX.search(name)
        layout = next((label for pattern, label in _NAMES if pattern.search(name)), None)
        if is_narrow and "scale" in name:
            later.append((name, layout or "FP8"))
        elif is_narrow or is_coded:
            kind = tensor.dtype[:2].replace("F", "FP") if is_narrow else f"packed {tensor.dtype}"
            yield name, _layout_beside(name, model) or layout or kind
        elif layout:
            later.append((name, layout))
    yield from later


def _layout_beside(name: str, model: ModelFacts) -> str | None:
    """The layout of a packed matrix, told by the tensors that stand beside it."""
    stem = re.sub(r"\.(weight|qweight|weight_packed)$", "", name)
    marks = {
        "block FP8": (f"{name}_scale_inv", f"{stem}.qscale_weight"),
        "LLM.int8 (bitsandbytes)": (f"{stem}.SCB",),
        "bitsandbytes 4-bit": (f"{name}.absmax",),
        "NVFP4": (f"{stem}.weight_scale_2", f"{stem}.weight_global_scale"),
        "MLX": (f"{stem}.biases",),
        "GPTQ": (f"{stem}.g_idx",),
        "AWQ": (f"{stem}.qzeros",),
    }
    return next((label for label, names in marks.items() if any(n in model.tensors for n in names)), None)


def what_instead(model: ModelFacts, quantization: Quantization) -> str:
    """What to give in place of a quantized model: the one it was made from, where its card knows it."""
    named = model.card.get("base_model")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    ours = model.hub_id or str(model.ref)
    originals = [str(name) for name in names if name and str(name) != ours]
    if originals:
        return f"Give the model it was made from, in 16 bits: by its card {originals[0]}."
    written_out = _WRITTEN_OUT.get(quantization.method or "")
    if written_out:
        return (
            "Give the model it was made from, in 16 bits. Where there is none, load it in transformers 5 "
            f"with quantization_config={written_out} and save it with "
            "save_pretrained(…, save_original_format=False)."
        )
    return "Give the model it was made from, in 16 bits."
