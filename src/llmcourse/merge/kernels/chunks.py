"""Decides which tensors the kernels take, and runs element-wise work in chunks that stay in cache.

torch shares one operation between its threads and waits for the last of them; where another program
runs on a core, each operation then costs milliseconds.  Here each thread takes whole chunks and runs
all operations of a chunk by itself.  Element-wise results do not depend on how they are divided.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch

# A chunk's scratch (a few float32 rows) fits the second-level cache; Python's share of the time is small.
CHUNK_ELEMENTS = 1 << 17

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


def chunk_bounds(start: int, stop: int, length: int = CHUNK_ELEMENTS) -> Iterator[slice]:
    """Yield slices of at most `length` that cover range(start, stop)."""
    for chunk_start in range(start, stop, length):
        yield slice(chunk_start, min(chunk_start + length, stop))


def for_each_chunk(length: int, work: Callable[[slice], None], chunk_length: int = CHUNK_ELEMENTS) -> None:
    """Call `work` for slices that cover range(length), on as many threads as torch may use.

    `work` must be element-wise: chunks run in any order and at the same time.
    """
    chunks = list(chunk_bounds(0, length, chunk_length))
    if len(chunks) == 1 or torch.get_num_threads() == 1:
        for bounds in chunks:
            work(bounds)
        return
    for _ in _workers(torch.get_num_threads()).map(work, chunks):
        pass


@lru_cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Threads whose torch operations use no further threads (the setting is one thread's own)."""
    return ThreadPoolExecutor(count, "merge", initializer=torch.set_num_threads, initargs=(1,))


def float_buffer(rows: int, length: int) -> torch.Tensor:
    """Return float32 scratch [rows, length] of undefined contents."""
    return torch.empty((rows, length), dtype=torch.float32)
