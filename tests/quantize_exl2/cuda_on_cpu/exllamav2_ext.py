"""What exllamav2's compiled CUDA extension computes when it converts a model and runs one, with torch alone.

Of the same name, so exllamav2 imports it where it would compile its own.  Written after what the kernels of
exllamav2 0.3.2 do; the random search for the best bits of each layer is a greedy one here.
"""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_matrices: dict[int, tuple[Tensor, Tensor]] = {}  # dequantized (in, out) and bias, by handle
_handles = count(1)


def stloader_read(path: str, offset: int, size: int, place: Tensor) -> None:
    with Path(path).open("rb") as file:
        file.seek(offset)
        data = bytearray(file.read(size))
    if data:
        place.copy_(torch.frombuffer(data, dtype=place.dtype).view(place.shape))


# Quantizing: weights are (rows in, columns out), float32.


def _quantized(weights: Tensor, scale: Tensor, zero: float, most: float) -> tuple[Tensor, Tensor]:
    """Whole numbers from 0 to `most`, and what they stand for in half precision."""
    numbers = ((weights / scale).round() + zero).clamp(0.0, most)
    return numbers, ((numbers.half() - torch.tensor(zero).half()) * scale.half()).float()


def quantize_err(
    weights: Tensor, output: Tensor, scale: Tensor, zero: float, most: float,
    norm: float, least_p: float, most_p: float, steps: int,
) -> None:  # fmt: skip
    for step in range(steps + 1):
        share = step / steps
        scaled = scale * (least_p * (1 - share) + most_p * share)
        error = (weights / scaled).round().clamp(-zero, most - zero) * scaled - weights
        output[step, 0] = error.abs().pow(norm).sum()


def quantize_range(
    quant: Tensor, scale: Tensor, numbers: Tensor, zero: float, most: float,
    hessian_inv: Tensor, weights: Tensor, error: Tensor, begin: int, end: int,
) -> None:  # fmt: skip
    for row in range(begin, end):
        found, quant[row] = _quantized(weights[row], scale, zero, most)
        if not numbers.is_meta:
            numbers[row] = found.short()
        error[row] = (weights[row] - quant[row]) / hessian_inv[row, row]
        weights[row:end] -= torch.outer(hessian_inv[row, row:end], error[row])
    weights[end:] -= hessian_inv[begin:end, end:].T @ error[begin:end]


def sim_anneal(
    slots: Sequence[Sequence[tuple[int, float]]], most: int, *_: float
) -> tuple[list[tuple[int, float]], list[int], float, int, float]:
    """For each slot one of its options (bits, error), so that all bits together are `most` at most."""
    norm = _[-1]
    chosen = [slot.index(min(slot)) for slot in slots]
    cost = sum(slot[option][0] for slot, option in zip(slots, chosen, strict=True))
    while True:
        # For each option that still fits, how much error it takes away for a bit more.
        gains = [
            (
                (slot[chosen[number]][1] ** norm - error**norm) / (bits - slot[chosen[number]][0]),
                number,
                option,
            )
            for number, slot in enumerate(slots)
            for option, (bits, error) in enumerate(slot)
            if slot[chosen[number]][0] < bits <= slot[chosen[number]][0] + most - cost
        ]
        gain, number, option = max(gains, default=(0.0, 0, 0))
        if gain <= 0:
            break
        cost += slots[number][option][0] - slots[number][chosen[number]][0]
        chosen[number] = option
    solution = [slot[option] for slot, option in zip(slots, chosen, strict=True)]
    errors = [error for _bits, error in solution]
    return solution, chosen, sum(error**norm for error in errors), cost, max(errors)


# Packing: a row of output holds 32 bits of as many rows of input as fit, the first in the lowest bits.


def _words(bits: Tensor) -> Tensor:
    """(words, 32, columns) of zeros and ones, the lowest bit first, as int32."""
    places = 2 ** torch.arange(32, dtype=torch.int64)
    whole = (bits.long() * places[None, :, None]).sum(dim=1)
    return torch.where(whole >= 2**31, whole - 2**32, whole).int()


def _bits(numbers: Tensor, width: int) -> Tensor:
    """(rows, columns) -> (rows * width, columns) of zeros and ones."""
    places = torch.arange(width)
    bits = numbers.long()[:, None, :] >> places[None, :, None] & 1
    return bits.reshape(-1, numbers.shape[1])


def pack_rows_4(scales: Tensor, packed: Tensor) -> None:
    bits = _bits((scales - 1).T, 4)
    packed.copy_(_words(bits.view(-1, 32, scales.shape[0])).T)


def pack_columns(numbers: Tensor, packed: Tensor, width: int) -> None:
    packed.copy_(_words(_bits(numbers, width).view(-1, 32, numbers.shape[1])))


def _unpacked(words: Tensor, width: int) -> Tensor:
    """(words, columns) int32 -> (words * 32 / width, columns) of whole numbers."""
    bits = words.long()[:, None, :] >> torch.arange(32)[None, :, None] & 1
    by_number = bits.reshape(-1, width, words.shape[1])
    return (by_number * 2 ** torch.arange(width)[None, :, None]).sum(dim=1)


# Quantized matrices.


def make_group_map(groups: Tensor, words: int) -> Tensor:
    """For each row the number of its group and how many rows of that group are left."""
    table = groups.view(-1, 2).tolist()
    ends = [begin for _width, begin in table[1:]] + [words]
    found: list[int] = []
    for number, ((width, begin), end) in enumerate(zip(table, ends, strict=True)):
        rows = (end - begin) * 32 // width
        for row in range(rows):
            found += [number, rows - row]
    return torch.tensor(found, dtype=torch.short)


def make_q_matrix(
    words: Tensor, perm: Tensor, _invperm: Tensor, scale: Tensor, scale_max: Tensor, groups: Tensor,
    _map: Tensor, _zeros: Tensor, _scales: Tensor, _index: Tensor, bias: Tensor, *_: Any,
) -> int:  # fmt: skip
    scales = (_unpacked(scale.T.contiguous(), 4).T + 1) ** 2
    table = groups.view(-1, 2).tolist()
    ends = [begin for _width, begin in table[1:]] + [len(words)]
    parts = []
    for number, ((width, begin), end) in enumerate(zip(table, ends, strict=True)):
        numbers = _unpacked(words[begin:end], width)
        parts.append((numbers - 2 ** (width - 1)).half() * (scales[number].half() * scale_max[number]))
    matrix = torch.cat(parts)
    if not perm.is_meta:
        matrix[perm.long()] = matrix.clone()
    handle = next(_handles)
    _matrices[handle] = (matrix, bias)
    return handle


def tensor_remap(words: Tensor, index: Tensor) -> None:
    """Columns in another order; the MLP's are put in that of the rows of the matrix that follows."""
    words.copy_(words[:, index.long()])


def tensor_remap_4bit(words: Tensor, index: Tensor) -> None:
    numbers = _unpacked(words.T.contiguous(), 4)[index.long()]
    pack_rows_4(numbers.T + 1, words)


def free_q_matrix(handle: int) -> None:
    del _matrices[handle]


def reconstruct(handle: int, output: Tensor) -> None:
    output.copy_(_matrices[handle][0])


def gemm_half_q_half(a: Tensor, handle: int, output: Tensor, _force_cuda: bool) -> None:
    matrix, bias = _matrices[handle]
    product = a.float() @ matrix.float()
    output.copy_(product if bias.is_meta else product + bias.float())


# Layers; without handles exllamav2 runs attention and MLP through torch, with the matrices above.


def make_q_attn(*_: Any) -> None:
    return None


def make_q_mlp(*_: Any) -> None:
    return None


def make_q_moe_mlp(*_: Any) -> None:
    return None


def rms_norm(x: Tensor, weight: Tensor, output: Tensor, epsilon: float) -> None:
    wide = x.float()
    output.copy_(wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon) * weight.float())


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, epsilon: float) -> None:
    offset = None if bias.is_meta else bias.float()
    output.copy_(torch.nn.functional.layer_norm(x.float(), x.shape[-1:], weight.float(), offset, epsilon))


def head_norm(x: Tensor, weight: Tensor, bias: Tensor, output: Tensor, epsilon: float, is_rms: bool) -> None:
    """x is (batch, tokens, heads, size of a head); each head has a weight of its own."""
    wide = x.float()
    wide = wide if is_rms else wide - wide.mean(-1, keepdim=True)
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon) * weight.float()
    output.copy_(scaled if bias.is_meta else scaled + bias.float())


def softcap_(x: Tensor, scale: float) -> None:
    x.copy_(torch.tanh(x.float() / scale) * scale)


def rope_(
    x: Tensor, sin: Tensor, cos: Tensor, past: int, _heads: int, _head_dim: int, _offsets: Tensor, neox: bool
) -> None:
    """In place; x is (batch, tokens, heads, size of a head), turned in pairs: halves, or neighbours."""
    turned = cos.shape[-1]
    pairs = (
        (slice(0, turned // 2), slice(turned // 2, turned))
        if neox
        else (slice(0, turned, 2), slice(1, turned, 2))
    )
    rows = slice(past, past + x.shape[1])
    s, c = (table[0, 0, rows, None, pairs[0]].float() for table in (sin, cos))
    left, right = (x[..., pair].float() for pair in pairs)
    x[..., pairs[0]], x[..., pairs[1]] = left * c - right * s, right * c + left * s
