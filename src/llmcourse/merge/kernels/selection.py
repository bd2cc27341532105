"""Finds which of several equal values a descending `torch.argsort` puts among its first k.

mergekit 0.1.5 keeps the top k of a tensor with `torch.argsort(w, descending=True)[:k]`, which is not
stable: among values equal to the k-th one, the ones kept are an accident of the sorting algorithm. On
CPU torch 2.13 calls libstdc++'s `std::sort` (introsort). Its partitions are followed here down to the
k-th position only, block by block, so that exactly the same elements are kept without sorting.
This module knows nothing about merging.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

Keys = NDArray[np.int16] | NDArray[np.int32]
Positions = NDArray[np.int64]

# libstdc++ bits/stl_algo.h, _S_threshold: shorter ranges are left to insertion sort, which is stable.
_INSERTION_SORT_LENGTH = 16
# Positions of one block (8 bytes each) stay in a core's second-level cache.
_BLOCK_LENGTH = 1 << 16


def select_first_of_sort(keys: Keys, k: int) -> tuple[int, NDArray[np.int32]] | None:
    """Return the k-th greatest key and the indices of the equal keys that sort before position k.

    `keys` [n] is used as scratch; 1 <= k <= n < 2^31. None where `std::sort` would have changed to
    heapsort on the way to position k: partitions that bad are left to the real sort.
    Source: libstdc++ `__introsort_loop`, `__unguarded_partition_pivot` with "greater" as comparison.
    """
    ids: NDArray[np.int32] = np.arange(keys.size, dtype=np.int32)
    partitions_left = 2 * (keys.size.bit_length() - 1)
    pivot_of_kept, kept = -1, list[NDArray[np.int32]]()
    while keys.size > _INSERTION_SORT_LENGTH:
        if partitions_left == 0:
            return None
        partitions_left -= 1
        _move_median_to_front(keys, ids)
        pivot = int(keys[0])
        cut, swaps = _find_cut(keys, pivot)
        if k <= cut:
            for left, right in _swapped_pairs(keys, pivot, cut, swaps):
                keys[left], ids[left] = keys[right], ids[right]
            keys, ids = keys[:cut], ids[:cut]
            continue
        # The left part is all kept. Its keys that equal the pivot count if the k-th key equals it too.
        if pivot != pivot_of_kept:
            pivot_of_kept, kept = pivot, []
        kept.append(ids[:1].copy())
        for left, right in _swapped_pairs(keys, pivot, cut, swaps):
            arriving = keys[right]
            kept.append(ids[right[arriving == pivot]])
            keys[right], ids[right] = keys[left], ids[left]
        keys, ids, k = keys[cut:], ids[cut:], k - cut
    first = np.argsort(-keys.astype(np.int64), kind="stable")[:k]
    kth = int(keys[first[-1]])
    tied = ids[first[keys[first] == kth]]
    return kth, np.concatenate([*kept, tied]) if kth == pivot_of_kept else tied


def sort_is_followed() -> bool:
    """Whether this machine's torch sorts as `select_first_of_sort` assumes, tried on 20 tied samples."""
    generator = torch.Generator().manual_seed(0)
    for size in (17, 100, 1000, 5000):
        for values in (2, 7, 50, 300, 5000):
            keys = torch.randint(0, values, (size,), generator=generator, dtype=torch.int32)
            k = size // 3
            kept = torch.argsort(keys.float(), descending=True)[:k]
            expected = kept[keys[kept] == keys[kept[-1]]]
            found = select_first_of_sort(keys.numpy().copy(), k)
            if found is None or sorted(found[1].tolist()) != sorted(expected.tolist()):
                return False
    return True


def _move_median_to_front(keys: Keys, ids: NDArray[np.int32]) -> None:
    """Swap the median of the keys at 1, the middle and the end into front, as `std::sort` does.

    Source: libstdc++ `__move_median_to_first`, whose branches decide among equal keys.
    """
    middle, last = keys.size // 2, keys.size - 1
    a, b, c = int(keys[1]), int(keys[middle]), int(keys[last])
    if a > b:
        median = middle if b > c else last if a > c else 1
    else:
        median = 1 if a > c else last if b > c else middle
    keys[0], keys[median] = keys[median], keys[0]
    ids[0], ids[median] = ids[median], ids[0]


def _find_cut(keys: Keys, pivot: int) -> tuple[int, int]:
    """Return where `__unguarded_partition(keys[1:], pivot)` cuts and how many pairs it swaps.

    Its left pointer stops at keys <= pivot and its right pointer at keys >= pivot. The i-th stops L[i]
    and R[i] are swapped while L[i] < R[i]. Counting stops finds the crossing in a few fast passes.
    """
    low, high = 1, keys.size
    stops_below = stops_above = 0  # left stops before low, right stops from high on
    while high - low > _BLOCK_LENGTH:
        middle = (low + high) // 2
        below = stops_below + int(np.count_nonzero(keys[low:middle] <= pivot))
        above = stops_above + int(np.count_nonzero(keys[middle:high] >= pivot))
        if below <= above:
            low, stops_below = middle, below
        else:
            high, stops_above = middle, above
    left = np.flatnonzero(keys[low:high] <= pivot) + low
    right = np.flatnonzero(keys[low:high] >= pivot)[::-1] + low
    sure = max(stops_below, stops_above)
    left_rest, right_rest = left[sure - stops_below :], right[sure - stops_above :]
    pairs = min(left_rest.size, right_rest.size)
    crossed = int(np.count_nonzero(left_rest[:pairs] < right_rest[:pairs]))
    swaps = sure + crossed
    # Past the last swap the left pointer stops at the next stop or at the key it swapped to the right.
    cuts = [int(stop) for stop in left_rest[crossed : crossed + 1]]
    if swaps > stops_above:
        cuts.append(int(right[swaps - 1 - stops_above]))
    return min(cuts), swaps


def _swapped_pairs(keys: Keys, pivot: int, cut: int, swaps: int) -> Iterator[tuple[Positions, Positions]]:
    """Yield the positions (left, right) that the partition swaps, in order, at most a block at a time."""
    left_blocks: Iterator[Positions] = (
        np.flatnonzero(keys[start : min(start + _BLOCK_LENGTH, cut)] <= pivot) + start
        for start in range(1, cut, _BLOCK_LENGTH)
    )
    right_blocks: Iterator[Positions] = (
        np.flatnonzero(keys[max(end - _BLOCK_LENGTH, cut) : end] >= pivot)[::-1]
        + max(end - _BLOCK_LENGTH, cut)
        for end in range(keys.size, cut, -_BLOCK_LENGTH)
    )
    left: Positions = np.empty(0, dtype=np.int64)
    right = left
    while swaps:
        while not left.size:
            left = next(left_blocks)
        while not right.size:
            right = next(right_blocks)
        count = min(left.size, right.size, swaps)
        yield left[:count], right[:count]
        left, right, swaps = left[count:], right[count:], swaps - count
