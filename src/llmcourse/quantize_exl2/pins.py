"""What the worker's header pins, for plan, fingerprint and card."""

from functools import cache

from llmcourse.quantize_exl2.naming import WORKER

# torch 2.14.0 of the package index is built with it, and compiles extensions with no other (measured).
CUDA = 13


@cache
def dependencies() -> dict[str, str]:
    """Packages of the environment and their versions, as the header of the worker has them."""
    lines = WORKER.read_text(encoding="utf-8").splitlines()
    pins = [line.strip('#", ') for line in lines if line.startswith('#   "')]
    return {name: version for name, _, version in (pin.partition("==") for pin in pins) if version}


def cuda_of(version: str) -> int:
    """13 of 13.0, 0 of nothing."""
    return int(version.partition(".")[0] or 0)
