"""How many parameters a model has, where some of them are packed into integers."""

from collections.abc import Mapping
from typing import Any

# GPTQ, GPTQ v2, Marlin and AWQ pack weights and zero points into words of 32 bits.
_PACKED = {"gptq", "awq", "gptq_v2", "marlin"}
_WORDS = "I32"


def parameter_count(numbers: Mapping[str, int], quantization: Mapping[str, Any]) -> int:
    """Parameters of a model, given how many numbers of each dtype (as safetensors calls it) it holds.

    `quantization` is the `quantization_config` of its config.json, empty where it has none.  Of a packed
    model each group of weights also has a scale and a zero point, which are no parameters; the order of the
    groups (`g_idx`), under a thousandth of the whole, is counted with them.
    """
    total, words = sum(numbers.values()), numbers.get(_WORDS, 0)
    bits, group = quantization.get("bits"), quantization.get("group_size", 128)
    is_packed = words and quantization.get("quant_method") in _PACKED
    if not is_packed or not isinstance(bits, int) or not 1 <= bits <= 8 or not isinstance(group, int):
        return total
    unpacked = words * 32 // bits
    weights = unpacked if group < 1 else unpacked * group // (group + 1)
    scales = 0 if group < 1 else weights // group
    return max(total, weights + total - words - scales)
