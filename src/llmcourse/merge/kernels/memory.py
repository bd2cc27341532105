"""Asks the C allocator to keep freed memory for the next tensor instead of returning it to the system."""

import ctypes

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let tensors up to 1 GiB come from the heap, and give none of it back below 1 GiB of free memory.

    By default glibc maps every tensor anew, and the kernel clears each page: for SLERP that is a
    quarter of the time. Freed memory is reused first, so the peak does not rise. Does nothing where the
    C library has no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
