"""Which CUDA the pinned torch wants."""

# torch 2.14.0 of the package index is built with it, and compiles extensions with no other (measured).
CUDA = 13


def cuda_of(version: str) -> int:
    """13 of 13.0, 0 of nothing."""
    return int(version.partition(".")[0] or 0)
