"""How large the results, the working files and the converter's share of memory will be, from shapes alone.

The layers get the bits that are asked for; the output layer has bits of its own, and is stored also where it
shares its weights with the embedding, which stays in 16 bits as norms do.  What a model sees with is copied.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.quantize_exl2.config import Config

# Rows of the library's own set, to quantize and to measure (exllamav2 0.3.2, conversion/tokenize.py).
BUILT_IN_ROWS, BUILT_IN_MEASUREMENT_ROWS = 115, 19
LENGTH = 2048  # tokens of a row of it

_EMBEDDING = re.compile(r"(embed_tokens|wte|wpe|tok_embeddings)\.weight$")
_HEAD = re.compile(r"(lm_head|output)\.weight$")
_COPIED = re.compile(r"^(vision_tower|vision_model|visual|multi_modal_projector)\.")
_LAYER = re.compile(r"^(.*?\.?(?:layers|blocks|h)\.\d+)\.")
_SMALL_BYTES = 30_000_000  # tokenizer, configuration, headers
# Weight, its working copies and errors in float32; the Hessian, its inverse and one more beside them.
_COPIES_BYTES, _HESSIAN_BYTES = 12, 12
# Scores of a head for every pair of tokens: as they are, masked, as shares.
_ATTENTION_BYTES = 6
# torch with CUDA, and what its allocator holds without using it. By reports of users a model of 7 B takes
# 8 GB of GPU memory and one of 70 B 24 GB; this comes to 6 and 24.
_SLACK, _CUDA_BYTES = 1.5, 1_000_000_000
_PROCESS_BYTES = 4_000_000_000  # torch, CUDA's libraries, a layer on its way


@dataclass(frozen=True)
class Shape:
    """A model's parameters by what becomes of them."""

    layers: int
    embedding: int
    head: int
    small: int  # norms and biases, in 16 bits
    copied_bytes: int


def shape_of(model: ModelFacts) -> Shape:
    layers = embedding = head = small = copied = 0
    for name, tensor in model.tensors.items():
        count = math.prod(tensor.shape)
        if _COPIED.search(name):
            copied += tensor.nbytes
        elif _EMBEDDING.search(name):
            embedding += count
        elif _HEAD.search(name):
            head += count
        elif len(tensor.shape) > 1:
            layers += count
        else:
            small += count
    return Shape(layers, embedding, head or embedding, small, copied)


def result_bytes(model: ModelFacts, bits: float, head_bits: int) -> int:
    """Bytes of the folder of one result."""
    shape = shape_of(model)
    quantized = shape.layers * bits + shape.head * head_bits
    return round(quantized / 8) + 2 * (shape.embedding + shape.small) + shape.copied_bytes + _SMALL_BYTES


def hidden_states_bytes(config: Config, model: ModelFacts) -> int:
    """What one layer hands to the next for all rows, in 16 bits."""
    measured = config.measurement_rows if config.calibration else BUILT_IN_MEASUREMENT_ROWS
    rows = config.calibration.samples if config.calibration else BUILT_IN_ROWS
    length = config.calibration.length if config.calibration else LENGTH
    return 2 * hidden_size(model) * max(rows * length, measured * config.measurement_length)


def scratch_bytes(config: Config, model: ModelFacts) -> int:
    """The converter's working folder at its largest: the layers of one result, and two sets of states."""
    largest = max(result_bytes(model, bits, config.head_bits) for bits in config.bits_per_weight)
    return largest + 2 * hidden_states_bytes(config, model)


def memory_bytes(config: Config, model: ModelFacts) -> int:
    """States before and after a layer, and after its quantization."""
    return _PROCESS_BYTES + 3 * hidden_states_bytes(config, model)


def gpu_bytes(config: Config, model: ModelFacts) -> int:
    """An estimate: the largest layer with what its quantization needs beside it, or one row's attention if
    that is more, and logits of a row."""
    length = max(config.calibration.length if config.calibration else LENGTH, config.measurement_length)
    groups: dict[str, list[Tensor]] = {}
    for name, tensor in model.tensors.items():
        found = _LAYER.match(name)
        if found and len(tensor.shape) > 1 and not _COPIED.search(name):
            groups.setdefault(found[1], []).append(tensor)
    layer = max(map(_layer_bytes, groups.values()), default=0)
    logits = length * shape_of(model).head // max(1, hidden_size(model)) * _COPIES_BYTES
    attention = _ATTENTION_BYTES * _stated(model, "num_attention_heads", "n_head") * length**2
    return round(_SLACK * (max(layer, attention) + logits)) + _CUDA_BYTES


def _layer_bytes(tensors: Iterable[Tensor]) -> int:
    """A layer in 16 bits with its quantizers; each expert of a mixture has a Hessian of its own."""
    weights = [(math.prod(tensor.shape), tensor.shape[-1]) for tensor in tensors]
    widest = max(inputs for _, inputs in weights)
    # Gate and up share a Hessian; of the widest tensors each has one.
    hessians = sum(inputs == widest for _, inputs in weights) * widest**2
    return (
        2 * sum(count for count, _ in weights)
        + _COPIES_BYTES * max(count for count, _ in weights)
        + _HESSIAN_BYTES * hessians
    )


def hidden_size(model: ModelFacts) -> int:
    """As config.json says, 0 where it does not."""
    return _stated(model, "hidden_size", "d_model", "n_embd")


def _stated(model: ModelFacts, *names: str) -> int:
    config = of_text(model)
    found = next((config[name] for name in names if name in config), 0)
    return found if isinstance(found, int) else 0
