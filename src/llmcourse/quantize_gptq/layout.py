"""Which tensors of a model are quantized, and how large the result is; from names and shapes alone.

Source: gptqmodel 7.6.0 (nn_modules/qlinear/__init__.py: qweight, qzeros, scales, g_idx), which quantizes the
linear layers of the decoder's blocks and leaves embeddings, norms, routers and the head.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from llmcourse.core.model import ModelFacts
from llmcourse.quantize_gptq.config import Config

_IN_A_BLOCK = re.compile(r"\.\d+\.")
# A router (`gate`, where `gate_proj` is none) is left as it is: it decides between experts.
_LEFT = re.compile(r"norm|ln_|embed|lm_head|visual|vision|(\.|_)(gate|router|classifier)$", re.IGNORECASE)
_TRANSPOSED = ("gpt2",)  # Conv1D: stored as (in, out)
_SCALE_BYTES, _INDEX_BYTES = 2, 4


@dataclass(frozen=True)
class Linear:
    """A linear layer that is quantized: rows are outputs, columns inputs."""

    module: str
    rows: int
    columns: int
    stored_bytes: int


def linears(model: ModelFacts) -> Iterator[Linear]:
    """The linear layers of the decoder's blocks, by module name."""
    for name, tensor in model.tensors.items():
        if len(tensor.shape) != 2 or not _is_quantized(name):
            continue
        rows, columns = tensor.shape
        if model.config.get("model_type") in _TRANSPOSED:
            rows, columns = columns, rows
        yield Linear(name.removesuffix(".weight"), rows, columns, tensor.nbytes)


def _is_quantized(name: str) -> bool:
    module, _, kind = name.rpartition(".")
    return kind == "weight" and bool(_IN_A_BLOCK.search(name)) and not _LEFT.search(module)


def packed_bits(config: Config, name: str, dimensions: int) -> int | None:
    """Bits of a tensor of the model's files in the result, None where it is left in 16 bits."""
    are_fused = dimensions == 3 and ".experts." in name  # gptqmodel takes them apart
    if not are_fused and not (dimensions == 2 and _is_quantized(name)):
        return None
    wishes = wishes_for(config, name.removesuffix(".weight"))
    return int(wishes["bits"]) if wishes else None


def with_modules_left(config: Config, patterns: Iterable[str]) -> str:
    """`modules` of the config as YAML, with what these expressions match left as it is.

    The first expression that is found decides, so these come first.
    """
    left = dict.fromkeys(patterns, False)
    modules: dict[str, Any] = {
        **left,
        **{k: v for k, v in config.model_dump()["modules"].items() if k not in left},
    }
    return yaml.safe_dump(modules, default_flow_style=True, sort_keys=False, width=10_000).strip()


def expression_of(name: str) -> str:
    """The regular expression of one module (of all experts of a layer) by the name of its tensor."""
    module = name.removesuffix(".weight")
    module = module.partition(".experts.")[0] + ".experts" if ".experts." in module else module
    found = re.search(r"[^.]+\.\d+\..+", module)
    return re.escape(found[0] if found else module).replace("\\_", "_") + "$" * (
        not module.endswith(".experts")
    )


def wishes_for(config: Config, module: str) -> Mapping[str, Any] | None:
    """Bits and group size of a module, None where it is left; the first expression that is found decides."""
    usual = {"bits": config.bits, "group_size": config.group_size}
    for pattern, wish in config.modules.items():
        if re.search(pattern, module):
            return usual | wish.as_settings() if wish else None
    return usual


def quantized_bytes(linear: Linear, wishes: Mapping[str, Any] | None) -> int:
    """Bytes of a layer's tensors: packed weights and zeros, scales in 16 bits, the index of groups."""
    if wishes is None:
        return linear.stored_bytes
    bits, group = int(wishes["bits"]), int(wishes["group_size"])
    group = linear.columns if group == -1 else group
    groups = math.ceil(linear.columns / group)
    packed = (linear.rows * linear.columns + groups * linear.rows) * bits // 8
    return packed + groups * linear.rows * _SCALE_BYTES + linear.columns * _INDEX_BYTES


def result_bytes(config: Config, model: ModelFacts) -> int:
    """Bytes of the weights of the result; what is not quantized is stored in 16 bits."""
    sizes = {
        linear.module: quantized_bytes(linear, wishes_for(config, linear.module)) for linear in linears(model)
    }
    kept = sum(
        2 * math.prod(tensor.shape)
        for name, tensor in model.tensors.items()
        if name.removesuffix(".weight") not in sizes
    )
    return sum(sizes.values()) + kept
