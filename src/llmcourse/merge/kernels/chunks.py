"""Decides which tensors the kernels take, and runs element-wise work in chunks that stay in cache.

torch shares one operation between its threads and waits for the last of them; where another program
runs on a core, each operation then costs milliseconds.  Here each thread takes whole chunks and runs
all operations of a chunk by itself.  Element-wise results do not depend on how they are divided.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

# A chunk's scratch (a few float32 rows) fits the second-level cache; Python's share of the time is small.
CHUNK_ELEMENTS = 1 << 17
# torch shares an operation among its threads from this size on (at::internal::GRAIN_SIZE).
_GRAIN_ELEMENTS = 1 << 15

Item = TypeVar("Item")
Result = TypeVar("Result")
_DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def are_plain(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether the kernels take these: same floating dtype, CPU, contiguous, not empty, no autograd."""
    first = tensors[0]
    return first.dtype in _DTYPES and all(
        type(tensor) is torch.Tensor
        and tensor.dtype == first.dtype
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
        and tensor.numel() > 0
        and not tensor.requires_grad
        for tensor in tensors
    )


class Finiteness:
    """Whether all chunks of a result were finite.

    The bits of a NaN depend on where it lies among vector lanes and threads, so what is not finite is left to
    mergekit's own code.
    """

    def __init__(self) -> None:
        self.everywhere = True

    def look_at(self, chunk: torch.Tensor) -> None:
        """A sum of float16 is finite here if all it adds is; others may overflow, which costs time only."""
        if not math.isfinite(chunk.sum(dtype=torch.float32)):
            self.everywhere = False


def chunk_bounds(start: int, stop: int, length: int = CHUNK_ELEMENTS) -> Iterator[slice]:
    """Yield slices of at most `length` that cover range(start, stop)."""
    for chunk_start in range(start, stop, length):
        yield slice(chunk_start, min(chunk_start + length, stop))


def for_each_chunk(length: int, work: Callable[[slice], None], chunk_length: int = CHUNK_ELEMENTS) -> None:
    """Call `work` for slices that cover range(length), on as many threads as torch may use.

    Chunks run in any order and at the same time, and torch uses one thread in each.
    """
    for _ in in_parallel(work, chunk_bounds(0, length, chunk_length)):
        pass


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like `map`, on as many threads as torch may use; inside such a thread it is `map`."""
    threads = torch.get_num_threads()
    return _workers(threads).map(work, items) if threads > 1 else map(work, items)


@lru_cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Threads whose torch operations use no further threads (the setting is one thread's own)."""
    return ThreadPoolExecutor(count, "merge", initializer=torch.set_num_threads, initargs=(1,))


def float_buffer(rows: int, length: int) -> torch.Tensor:
    """Return float32 scratch [rows, length] of undefined contents."""
    return torch.empty((rows, length), dtype=torch.float32)


def sum_as_threads_do(values: torch.Tensor, threads: int) -> torch.Tensor:
    """Sum [1, n] float32 to [1] in one thread, with the bits that `values.sum(dim=1)` has with `threads`.

    torch gives each thread an equal share, then adds up the shares.  Source: torch 2.13,
    aten/src/ATen/native/TensorIteratorReduce.cpp (two_pass_reduction), ATen/ParallelOpenMP.h.
    """
    length = values.shape[1]
    if length < _GRAIN_ELEMENTS or threads == 1:
        return values.sum(dim=1)
    share = -(-length // min(threads, -(-length // _GRAIN_ELEMENTS)))
    sums = torch.zeros(threads, 1)
    for index, bounds in enumerate(chunk_bounds(0, length, share)):
        sums[index] = values[:, bounds].sum(dim=1)
    return sums.sum(dim=0)
