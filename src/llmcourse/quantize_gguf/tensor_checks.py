"""Whether the weights are those that config.json describes: tensors that one layer lacks, and their shapes.

llama.cpp finds both only when it loads the finished file.  Here they are found from the headers, and only
where they are certain: layers of one model may be of several kinds, which may differ.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.core.layers import of_text, stated_layers
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail
from llmcourse.core.quantized import quantization_of

_LAYER = re.compile(r"^((?:.*\.)?(?:layers|blocks|h))\.(\d+)\.(.+)$")
# Matrices that every layer of a kind has, as transformers names them; biases and scales may be absent.
_ESSENTIAL = re.compile(
    r"(?:^|\.)(?:[qkvo]_proj|out_proj|qkv_proj|gate_proj|up_proj|down_proj|gate_up_proj|fc1|fc2|c_attn|c_proj|c_fc"
    r"|query_key_value|dense_h_to_4h|dense_4h_to_h)\.(?:weight|qweight|weight_packed)$"
)
# With these layers lack parts on purpose: Nemotron's searched architectures, key and value shared by layers.
_UNEVEN = ("block_configs", "num_kv_shared_layers", "cla_share_factor")

# Llamas and their like, every layer of which has the same shapes; of their own default only what is named.
_PLAIN = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "olmo", "olmo2", "stablelm",
)  # fmt: skip
_HEADS_DIVIDE = ("llama", "mistral", "qwen2", "granite", "olmo", "olmo2", "stablelm")


def tensor_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """What the weights lack, or have in another shape than config.json says."""
    lacking = _lacking(model)
    if lacking:
        yield fail(
            name,
            f"{name} has no tensor {lacking}, which its other layers have.",
            "Get the model's files anew, or make them again: the weights are not complete.",
        )
    elif wrong := _wrong_shape(model):
        tensor, expected, reason = wrong
        yield fail(
            name,
            f"{tensor} of {name} has {model.tensors[tensor].shape[0]} rows, and config.json says "
            f"{expected} ({reason}).",
            "Give the config.json that belongs to these weights.",
        )


def _lacking(model: ModelFacts) -> str | None:
    """A tensor that exactly one layer lacks of what all others of its kind have; None where not certain."""
    config, count = of_text(model), stated_layers(model)
    if count is None or any(part.get(key) for part in (config, model.config) for key in _UNEVEN):
        return None
    stacks: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in model.tensors:
        if (found := _LAYER.match(name)) and int(found[2]) < count:  # beyond are layers for further tokens
            stacks[found[1]][int(found[2])].add(found[3])
    for prefix, layers in stacks.items():
        if len(layers) != count:  # of another part, that sees or hears, or of several
            continue
        kinds: dict[tuple[Any, ...], dict[int, set[str]]] = defaultdict(dict)
        for layer, names in layers.items():
            kinds[_kind(config, layer, count)][layer] = names
        for same in kinds.values():
            if lost := _lost(same):
                return f"{prefix}.{lost[0]}.{lost[1]}"
    return None


def _kind(config: Mapping[str, Any], layer: int, count: int) -> tuple[Any, ...]:
    """What config.json says of this layer: in lists as long as there are layers, or that name layers."""
    said: list[Any] = []
    for key, value in sorted(config.items()):
        if isinstance(value, list) and len(value) == count:
            said.append(str(value[layer]))
        elif isinstance(value, str) and len(value) == count and "pattern" in key:
            said.append(value[layer])
        elif isinstance(value, list) and ("layer" in key or "idx" in key):
            said.append(layer in value)
    return tuple(said)


def _lost(layers: Mapping[int, set[str]]) -> tuple[int, str] | None:
    """The one layer whose names are fewer than those that all others have alike, and a name it lacks."""
    candidates = []
    for layer, names in layers.items():
        others = [found for other, found in layers.items() if other != layer]
        if others and all(found == others[0] for found in others) and names < others[0]:
            essential = [name for name in sorted(others[0] - names) if _ESSENTIAL.search(name)]
            candidates += [(layer, essential[0])] if essential else []
    return candidates[0] if len(candidates) == 1 else None


def _wrong_shape(model: ModelFacts) -> tuple[str, int, str] | None:
    """A tensor, how many rows config.json gives it, and why; None where all fit or it cannot be known."""
    config = of_text(model)
    if config.get("model_type") not in _PLAIN or quantization_of(model):
        return None
    expected = dict(_rows(config))
    for name, tensor in model.tensors.items():
        part = name.rpartition(".layers.")[2].partition(".")[2]
        if "vision" not in name and len(tensor.shape) == 2 and part in expected:
            rows, reason = expected[part]
            if tensor.shape[0] != rows:
                return name, rows, reason
    return None


def _rows(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Rows of the matrices of a layer, as far as config.json says them."""
    hidden, heads, wide = (
        _number(config, key) for key in ("hidden_size", "num_attention_heads", "intermediate_size")
    )
    size, shared = _number(config, "head_dim"), _number(config, "num_key_value_heads")
    if size is None and config.get("model_type") in _HEADS_DIVIDE and hidden and heads:
        size = hidden // heads
    for matrix, count, key in (("q", heads, "num_attention_heads"), ("k", shared, "num_key_value_heads"),
                               ("v", shared, "num_key_value_heads")):  # fmt: skip
        if size and count:
            yield f"self_attn.{matrix}_proj.weight", (size * count, f"{key} {count} times {size} each")
    if wide:
        for matrix in ("gate", "up"):
            yield f"mlp.{matrix}_proj.weight", (wide, "intermediate_size")


def _number(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else None
