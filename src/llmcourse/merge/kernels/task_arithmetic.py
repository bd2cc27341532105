"""Task arithmetic, TIES and DARE with the bits of mergekit 0.1.5, in cache-sized chunks.

mergekit holds a dozen full-size temporaries and spends most of TIES in a full sort. Here only the
sparsified task vectors are full-size; signs, sums and divisions run chunk by chunk with the same torch
operations, whose result for an element does not depend on its neighbours. Norms are sums over the whole
tensor, whose rounding depends on its length and the thread count, so they stay one torch call on it.
Source: mergekit 0.1.5 merge_methods/generalized_task_arithmetic.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from mergekit.merge_methods.base import TensorEntry, TensorGroup
from mergekit.merge_methods.generalized_task_arithmetic import ConsensusMethod, GeneralizedTaskArithmeticMerge
from mergekit.sparsify import SparsificationMethod

from llmcourse.merge.kernels.chunks import (
    CHUNK_ELEMENTS,
    Finiteness,
    are_plain,
    for_each_chunk,
    in_parallel,
)
from llmcourse.merge.kernels.sparsify import keep_random, keep_top_magnitudes

GroupMerge = Callable[..., torch.Tensor]
Keeper = Callable[[torch.Tensor, float, bool, torch.Tensor], torch.Tensor | None]

_KEEPERS: dict[SparsificationMethod | None, Keeper | None] = {
    None: None,
    SparsificationMethod.magnitude: keep_top_magnitudes,
    SparsificationMethod.random: keep_random,
}


# Up to this many rows torch sums a column in row order wherever the column lies. With more, columns at
# the end of a thread's share are summed in four interleaved parts (aten/src/ATen/native/cpu/SumKernel.cpp,
# torch 2.13; 1 ulp in float32), so the sum must see the whole tensor at once.
_MOST_ROWS_IN_CHUNKS = 4


# A selection holds the index of every element; for embeddings, one at a time is enough.
_MOST_ELEMENTS_AT_ONCE = 1 << 25


@dataclass(frozen=True)
class _TaskVector:
    """One model's delta [n]: `tensor` less `base`, or `tensor` (sparsified already) times `factor`."""

    tensor: torch.Tensor
    base: torch.Tensor | None = None
    factor: torch.Tensor | None = None

    def write_chunk(self, bounds: slice, weight: torch.Tensor, out: torch.Tensor) -> None:
        """Write the delta's chunk times `weight` [1] into `out`, rounding as often as mergekit does."""
        chunk = self.tensor[bounds]
        if self.base is not None:
            torch.sub(chunk, self.base[bounds], out=out).mul_(weight)
        elif self.factor is None:
            torch.mul(chunk, weight, out=out)
        else:
            # float16 was dropped at random, and so is rescaled, in float32.
            out.copy_(chunk.to(self.factor.dtype).mul_(self.factor)).mul_(weight)


@dataclass(frozen=True)
class _Combination:
    """How task vectors become one: mergekit's parameters, `weights` [models, 1] in the tensors' dtype."""

    weights: torch.Tensor
    by_sign: bool
    normalize: bool
    scale: float


def task_arithmetic_like(original: GeneralizedTaskArithmeticMerge) -> GroupMerge:
    """Return `merge_group` for the tensors the kernels take; others go to mergekit's own."""

    merge_by_mergekit: GroupMerge = original.merge_group

    def merge_group(group: TensorGroup, /, **parameters: Any) -> torch.Tensor:
        densities = parameters["density"].values()
        # A negative or NaN density is an error, which is mergekit's to report.
        if not group.non_base or not are_plain(group.tensors) or not all(value >= 0 for value in densities):
            return merge_by_mergekit(group, **parameters)
        base = group.base.tensor
        result = torch.empty_like(base)
        weights = [[parameters["weight"][entry.id]] for entry in group.non_base]
        combination = _Combination(
            weights=torch.tensor(weights, dtype=base.dtype),
            by_sign=original.consensus_method == ConsensusMethod.sum,
            normalize=parameters["normalize"],
            scale=parameters["lambda"],
        )
        keep = _KEEPERS[original.sparsification_method]
        random_state = torch.get_rng_state()
        # Until the result is written, its memory is the scratch for norms.
        vectors = _task_vectors(group, keep, parameters, scratch=result.view(-1))
        if _combine(vectors, base.view(-1), combination, result.view(-1)):
            return result
        torch.set_rng_state(random_state)
        return merge_by_mergekit(group, **parameters)

    return merge_group


def _task_vectors(
    group: TensorGroup, keep: Keeper | None, parameters: dict[str, Any], scratch: torch.Tensor
) -> list[_TaskVector]:
    """One vector per model.

    Selections by magnitude run at the same time, one model per thread. Random numbers are drawn model by
    model, and norms are whole sums whose rounding depends on the thread count: those take turns.
    """
    base, rescale = group.base.tensor.view(-1), parameters["rescale"]

    def task_vector(entry: TensorEntry) -> _TaskVector:
        tensor, density = entry.tensor.view(-1), parameters["density"][entry.id]
        if keep is None or density >= 1:
            return _TaskVector(tensor, base=base)
        delta = tensor - base
        return _TaskVector(delta, factor=keep(delta, density, rescale, scratch))

    is_independent = keep is keep_top_magnitudes and not rescale and base.numel() <= _MOST_ELEMENTS_AT_ONCE
    return list((in_parallel if is_independent else map)(task_vector, group.non_base))


def _combine(
    vectors: list[_TaskVector], base: torch.Tensor, combination: _Combination, result: torch.Tensor
) -> bool:
    """Write base plus the combined task vectors, all [n], into `result`; returns whether that is finite."""
    rows, length, finite = len(vectors), base.numel(), Finiteness()
    in_chunks = rows <= _MOST_ROWS_IN_CHUNKS

    def combine(bounds: slice) -> None:
        deltas = base.new_empty((rows, bounds.stop - bounds.start))
        for vector, weight, row in zip(vectors, combination.weights, deltas, strict=True):
            vector.write_chunk(bounds, weight, row)
        mixed = _mix_in_float(deltas, combination) if in_chunks else None
        if mixed is None:
            mixed = _mix(deltas, combination)
        if combination.scale != 1:
            mixed.mul_(combination.scale)
        torch.add(base[bounds], mixed, out=result[bounds])
        finite.look_at(result[bounds])

    for_each_chunk(length, combine, CHUNK_ELEMENTS // rows if in_chunks else length)
    return finite.everywhere


def _mix(deltas: torch.Tensor, combination: _Combination) -> torch.Tensor:
    """Sum weighted [models, n] deltas to [n], step by step as mergekit's `merge_group` does."""
    weights = combination.weights
    if combination.by_sign:
        agrees = torch.where(deltas.sum(dim=0) >= 0, deltas > 0, deltas < 0)
        mixed, divisor = (deltas * agrees).sum(dim=0), (weights * agrees).sum(dim=0)
        divisor.masked_fill_(divisor == 0, 1)
    else:
        mixed, divisor = deltas.sum(dim=0), weights.sum(dim=0)
        divisor.masked_fill_(divisor.abs() < 1e-8, 1)
    return mixed.div_(divisor) if combination.normalize else mixed


def _mix_in_float(deltas: torch.Tensor, combination: _Combination) -> torch.Tensor | None:
    """Do what `_mix` does in a fifth of the time; None where a delta or a sum is not finite.

    torch adds up 16-bit rows in float32 and rounds once, so additions of float32 rows in the same order
    give the same bits. Rows are turned to where the majority's sign is plus, then what disagrees is
    clamped to zero: for finite numbers that is mergekit's product with a mask. The sign of a sum
    survives rounding, because every sum is a multiple of the dtype's smallest number. A sum of negative
    zeros is +0 in torch, hence `add_(0)`.
    """
    floats = deltas.float()
    total = _sum_rows(floats)
    if not combination.by_sign:
        mixed, divisor = total.add_(0), combination.weights.sum(dim=0)
        divisor.masked_fill_(divisor.abs() < 1e-8, 1)
        mixed = mixed.to(deltas.dtype)
        return mixed.div_(divisor) if combination.normalize else mixed
    if not math.isfinite(total.sum()):
        return None
    sign = total.ge_(0).mul_(2).sub_(1)
    floats.mul_(sign).clamp_(min=0)
    mixed = _sum_rows(floats).mul_(sign).add_(0).to(deltas.dtype)
    if not combination.normalize:
        return mixed
    divisor = _sum_rows(floats.gt_(0).mul_(combination.weights.float())).to(deltas.dtype)
    # In-place comparisons write 0.0 and 1.0 and are vectorized, unlike those that make booleans.
    return mixed.div_(divisor.add_(divisor.clone().eq_(0)))


def _sum_rows(rows: torch.Tensor) -> torch.Tensor:
    if len(rows) == 1:
        return rows[0].clone()
    total = rows[0] + rows[1]
    for row in rows[2:]:
        total.add_(row)
    return total
