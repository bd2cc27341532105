"""Decides which tensors the kernels take and cuts them into chunks that stay in a core's cache."""

from collections.abc import Iterator, Sequence

import torch

# torch shares an operation between threads from 2^15 elements on (at::internal::GRAIN_SIZE). Just below,
# no thread waits for another, which costs milliseconds per operation where other programs run, and all
# scratch of a chunk stays in the second-level cache.
CHUNK_ELEMENTS = (1 << 15) - 128

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


def float_buffer(rows: int, length: int) -> torch.Tensor:
    """Return float32 scratch [rows, length] of undefined contents."""
    return torch.empty((rows, length), dtype=torch.float32)
