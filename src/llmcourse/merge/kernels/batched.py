"""SLERP and linear merging with the bits of mergekit 0.1.5, in cache-sized chunks.

mergekit makes fresh full-size or 4 MB temporaries for each step. The same torch operations run here on
small scratch: element by element they give the same bits whatever the chunk is. The reductions of
SLERP are not free in that way, so they keep mergekit's chunks of 2^20 elements and torch's division of
each among its threads.
"""

from collections.abc import Callable

import torch
from mergekit.merge_methods.base import TensorBatch

from llmcourse.merge.kernels.chunks import (
    Finiteness,
    are_plain,
    chunk_bounds,
    float_buffer,
    for_each_chunk,
    sum_as_threads_do,
)

BatchMerge = Callable[..., torch.Tensor]

# mergekit 0.1.5 merge_methods/slerp.py: _CHUNK_ELEMENTS, dot_threshold, eps.
_SLERP_CHUNK_ELEMENTS = 1024 * 1024
_DOT_THRESHOLD = 0.9995
_EPS = 1e-8


def slerp_like(original: BatchMerge) -> BatchMerge:
    """Return `slerp` for the tensors the kernels take; others go to mergekit's own."""

    def slerp(batch: TensorBatch, t: torch.Tensor) -> torch.Tensor:
        if len(batch.tensors) != 2 or batch.base_index is None or not _is_one_output(batch):
            return original(batch, t)
        base, other = batch.tensors[batch.base_index], batch.tensors[1 - batch.base_index]
        result = _slerp(t.reshape(()), base.view(-1), other.view(-1))
        return original(batch, t) if result is None else result.view(base.shape)

    return slerp


def linear_like(original: BatchMerge) -> BatchMerge:
    """Return `linear` for the tensors the kernels take; others go to mergekit's own."""

    def linear(batch: TensorBatch, weight: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        if not _is_one_output(batch):
            return original(batch, weight, normalize=normalize)
        tensors = [tensor.view(-1) for tensor in batch.tensors]
        result = _linear(tensors, weight[0], normalize)
        if result is None:
            return original(batch, weight, normalize=normalize)
        return result.view(batch.tensors[0].shape)

    return linear


def _is_one_output(batch: TensorBatch) -> bool:
    return batch.tensors[0].shape[0] == 1 and are_plain(batch.tensors)


def _slerp(t: torch.Tensor, base: torch.Tensor, other: torch.Tensor) -> torch.Tensor | None:
    """Interpolate [n] tensors; None if that is not finite. Source: mergekit 0.1.5 merge_methods/slerp.py."""
    weight_base, weight_other = _slerp_weights(t, _cosine(base, other))
    result, finite = torch.empty_like(base), Finiteness()

    def interpolate(bounds: slice) -> None:
        x, y = float_buffer(2, bounds.stop - bounds.start)
        x.copy_(base[bounds]).mul_(weight_base)
        y.copy_(other[bounds]).mul_(weight_other)
        result[bounds] = x.add_(y)
        finite.look_at(result[bounds])

    for_each_chunk(base.numel(), interpolate)
    return result if finite.everywhere else None


def _slerp_weights(t: torch.Tensor, cosine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    linear = cosine.abs() > _DOT_THRESHOLD
    theta = torch.acos(torch.where(linear, 0, cosine))
    sin_theta = torch.sin(theta)
    return (
        torch.where(linear, 1 - t, torch.sin((1 - t) * theta) / sin_theta),
        torch.where(linear, t, torch.sin(t * theta) / sin_theta),
    )


def _cosine(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the cosine of the angle between [n] tensors, [1] float32, in mergekit's order of sums."""
    norm_base, norm_other = _norm(base), _norm(other)
    threads = torch.get_num_threads()

    def fill(bounds: slice, out: torch.Tensor) -> None:
        y = float_buffer(1, bounds.stop - bounds.start)[0]
        out.copy_(base[bounds]).div_(norm_base)
        out.mul_(y.copy_(other[bounds]).div_(norm_other))

    dots = _reduced(base.numel(), fill, lambda values: sum_as_threads_do(values, threads))
    return torch.stack(dots).sum(dim=0).clamp(-1, 1)


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """Return the norm of [n] as mergekit does, [1] float32: the norm of the chunks' norms, 1 if tiny."""

    def fill(bounds: slice, out: torch.Tensor) -> None:
        out.copy_(tensor[bounds])

    # torch computes a norm over the last axis of one row in one thread (ReduceOpsKernel.cpp, torch 2.13).
    norms = _reduced(tensor.numel(), fill, lambda values: torch.linalg.vector_norm(values, dim=1))
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return torch.where(norm > _EPS, norm, 1)


def _reduced(
    length: int,
    fill: Callable[[slice, torch.Tensor], None],
    reduce: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """Reduce mergekit's chunks of 2^20 elements, each [1, chunk] float32 to [1], in their order."""
    reduced = [torch.empty(1)] * -(-length // _SLERP_CHUNK_ELEMENTS)

    def reduce_chunk(chunk: slice) -> None:
        values = float_buffer(1, chunk.stop - chunk.start)
        for bounds in chunk_bounds(chunk.start, chunk.stop):
            fill(bounds, values[0, bounds.start - chunk.start : bounds.stop - chunk.start])
        reduced[chunk.start // _SLERP_CHUNK_ELEMENTS] = reduce(values)

    for_each_chunk(length, reduce_chunk, _SLERP_CHUNK_ELEMENTS)
    return reduced


def _linear(tensors: list[torch.Tensor], weights: torch.Tensor, normalize: bool) -> torch.Tensor | None:
    """Sum [n] tensors by `weights` [models]; None if that is not finite.

    Source: mergekit 0.1.5 merge_methods/linear.py.
    """
    weights = weights.float()
    divisor = weights.sum(dim=0, keepdim=True)
    result, finite = torch.empty_like(tensors[0]), Finiteness()

    def add_up(bounds: slice) -> None:
        total, values = float_buffer(2, bounds.stop - bounds.start)
        total.zero_()
        for tensor, weight in zip(tensors, weights.unsqueeze(1), strict=True):
            total.addcmul_(values.copy_(tensor[bounds]), weight)
        if normalize:
            total.div_(divisor)
        result[bounds] = total
        finite.look_at(result[bounds])

    for_each_chunk(result.numel(), add_up)
    return result if finite.everywhere else None
