"""Sparsifies a task vector in place of `mergekit.sparsify`, with its bits and its random numbers.

Source: mergekit 0.1.5 sparsify.py `magnitude`, `bernoulli`, `rescaled_masked_tensor`.
"""

import torch
from mergekit.sparsify import magnitude

from llmcourse.merge.kernels.chunks import chunk_bounds, float_buffer, for_each_chunk
from llmcourse.merge.kernels.selection import select_first_of_sort

# Below this length a sort costs less than following it.
_SHORTEST_SELECTION = 1 << 14
# Random numbers are drawn in order, by one thread; they are used by all.
_DRAWN_AT_ONCE = 1 << 20
_LONGEST_SELECTION = (1 << 31) - 1
# mergekit sparsify.py `rescaled_masked_tensor`: eps.
_SMALLEST_NORM = 1e-7
# A NaN's bits less the sign, as an integer: every NaN sorts as equal and as the greatest.
_NAN_KEYS = {torch.bfloat16: 0x7F81, torch.float16: 0x7C01, torch.float32: 0x7F800001}


def keep_top_magnitudes(
    delta: torch.Tensor, density: float, rescale: bool, scratch: torch.Tensor
) -> torch.Tensor | None:
    """Zero all but the greatest `density` share of `delta` [n] in place; return the factor to rescale by.

    Ties are kept as mergekit's sort keeps them. `scratch` [n] of delta's dtype is overwritten.
    """
    if density >= 1:
        return None
    if density <= 0:
        delta.zero_()
        return None
    before = _l1_norm(delta, scratch) if rescale else None
    if not _mask_top_magnitudes(delta, max(1, int(density * delta.numel()))):
        # What the selection does not cover; the norm, if any, needs the unscaled result.
        delta.copy_(magnitude(delta, density))
    return None if before is None else _factor(before, _l1_norm(delta, scratch))


def keep_random(
    delta: torch.Tensor, density: float, rescale: bool, scratch: torch.Tensor
) -> torch.Tensor | None:
    """Keep each element of `delta` [n] with probability `density`; return the factor to rescale by.

    Draws from torch's default generator what `torch.bernoulli` of a full tensor of probabilities
    draws: on CPU that is one float32 uniform number each, kept where it is less than the probability
    (aten/src/ATen/native/cpu/DistributionTemplates.h, torch 2.13), and `uniform_` makes the same
    numbers three times faster. `scratch` [n] is overwritten.
    """
    if density >= 1:
        return None
    if scratch.dtype != _work_dtype(delta.dtype):
        scratch = torch.empty_like(delta, dtype=_work_dtype(delta.dtype))
    before = _l1_norm(delta, scratch) if rescale else None
    probability = torch.tensor(density, dtype=_work_dtype(delta.dtype)).item()
    uniform = float_buffer(1, _DRAWN_AT_ONCE)[0]
    for group in chunk_bounds(0, delta.numel(), _DRAWN_AT_ONCE):
        drawn, part = uniform[: group.stop - group.start].uniform_(), delta[group]

        def keep(bounds: slice, drawn: torch.Tensor = drawn, part: torch.Tensor = part) -> None:
            # In-place comparisons write 0.0 and 1.0 and are vectorized, unlike those that make booleans.
            part[bounds].mul_(drawn[bounds].lt_(probability))

        for_each_chunk(drawn.numel(), keep)
    return None if before is None else _factor(before, _l1_norm(delta, scratch))


def _work_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which mergekit drops at random: `torch.bernoulli` has no float16 on CPU."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def _mask_top_magnitudes(delta: torch.Tensor, k: int) -> bool:
    """Multiply all but the k greatest magnitudes by zero; False (delta untouched) where unable to tell."""
    if not _SHORTEST_SELECTION <= delta.numel() <= _LONGEST_SELECTION:
        return False
    bits = delta.view(torch.int32 if delta.dtype == torch.float32 else torch.int16)
    keys = torch.empty_like(bits)
    _fill_keys(bits, delta.dtype, keys)
    kth = _threshold_without_tie(keys, k)
    if kth is not None:
        _multiply_by_mask(delta, _value_of(kth, bits, delta.dtype), keep_equal=True)
        return True
    selection = select_first_of_sort(keys.numpy(), k)
    if selection is None:
        return False
    kth, tied = selection
    kept_bits = bits.numpy()[tied]
    _multiply_by_mask(delta, _value_of(kth, bits, delta.dtype), keep_equal=False)
    bits.numpy()[tied] = kept_bits
    return True


def _fill_keys(bits: torch.Tensor, dtype: torch.dtype, keys: torch.Tensor) -> None:
    """Write integers that order as the magnitudes do in mergekit's sort, NaN first."""
    torch.bitwise_and(bits, torch.iinfo(bits.dtype).max, out=keys)
    keys.clamp_(max=_NAN_KEYS[dtype])


def _value_of(key: int, bits: torch.Tensor, dtype: torch.dtype) -> float:
    return bits.new_tensor(key).view(dtype).item()


def _threshold_without_tie(keys: torch.Tensor, k: int) -> int | None:
    """Return the k-th greatest key, or None if some of its equals are dropped and the sort says which.

    Zeros are never a tie: multiplied by 0 or by 1 they are the same.
    """
    if keys.dtype != torch.int16:
        return None
    at_least = torch.bincount(keys).flip(0).cumsum(0).flip(0)
    kth = int(torch.count_nonzero(at_least >= k)) - 1
    return kth if kth == 0 or int(at_least[kth]) == k else None


def _multiply_by_mask(delta: torch.Tensor, threshold: float, keep_equal: bool) -> None:
    """Multiply by whether a magnitude reaches or exceeds `threshold`.

    A product, as an infinity times zero must be NaN; so must NaN, which never compares, and does.
    """

    def multiply(bounds: slice) -> None:
        magnitudes = delta[bounds].abs()
        delta[bounds].mul_(magnitudes.ge_(threshold) if keep_equal else magnitudes.gt_(threshold))

    for_each_chunk(delta.numel(), multiply)


def _l1_norm(delta: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """Sum |delta| in the dtype of `scratch` with torch's own reduction over the whole tensor."""
    return torch.abs(delta.to(scratch.dtype), out=scratch).sum()


def _factor(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor | None:
    return None if before < _SMALLEST_NORM or after < _SMALLEST_NORM else before / after
