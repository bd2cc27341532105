"""Whether the weights are those that config.json describes: tensors that one layer lacks, and their shapes.

llama.cpp finds both only when it loads the finished file.  Here they are found from the headers, and only
where they are certain: layers of one model may be of several kinds, which may differ.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.core.heads import heads_checks
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

# Llamas and their like, whose every layer is as wide as config.json says.
_PLAIN = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "granite", "olmo", "olmo2", "stablelm",
)  # fmt: skip
_WIDE = re.compile(r"layers\.\d+\.mlp\.(gate|up)_proj\.weight$")


def tensor_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """What the weights lack, or have in another shape than config.json says."""
    lacking = _lacking(model)
    if lacking:
        yield fail(
            name,
            f"{name} has no tensor {lacking}, which its other layers have.",
            "Get the model's files anew, or make them again: the weights are not complete.",
        )
    elif not quantization_of(model):
        yield from heads_checks(name, model)
        yield from _width_checks(name, model)


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


def _width_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """Whether the matrices of the first feed-forward network that differs are as wide as config.json says."""
    config = of_text(model)
    width = config.get("intermediate_size")
    if config.get("model_type") not in _PLAIN or not isinstance(width, int):
        return
    for tensor, held in model.tensors.items():
        if _WIDE.search(tensor) and "vision" not in tensor and held.shape[0] != width:
            yield fail(
                name,
                f"{tensor} of {name} has {held.shape[0]} rows, and config.json says {width} "
                "(intermediate_size).",
                "Give the config.json that belongs to these weights.",
            )
            return
