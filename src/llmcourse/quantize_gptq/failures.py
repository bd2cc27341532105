"""What goes wrong inside torch and gptqmodel, in sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from llmcourse.core.errors import LibraryError, PlanError, file_error


@contextmanager
def library_failures() -> Iterator[None]:
    """Errors of the libraries that have a known cause become ours; the others show their log.

    Raises:
        PlanError: the disk is full.
        LibraryError: memory of the GPU ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise LibraryError(
            "The memory of the GPU ran out.",
            "Set calibration.length or calibration.samples lower, or use device: cpu.",
        ) from error
    except OSError as error:
        if error.errno is None:
            raise
        raise file_error(error) from error
    except (SafetensorError, RuntimeError) as error:
        if "No space left on device" in str(error) or "os error 28" in str(error):
            raise file_error(OSError(errno.ENOSPC, "")) from error
        raise


def refuse_nan(is_finite: bool, what: str) -> None:
    """Stop where a model computes no numbers: its 16 bits overflow, or its weights are damaged."""
    if not is_finite:
        raise LibraryError(
            f"{what} computes no numbers (NaN or infinity).",
            "Quantize the model in bfloat16, or check its weights.",
        )


def too_short(found: int, wanted: int, name: str) -> PlanError:
    return PlanError(
        f"{name} has {found} tokens; a window needs {wanted}.", "Give a longer text.", where="quality"
    )
