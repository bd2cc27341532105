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


def refuse_nan(is_finite: bool, what: str, dtype: str = "bfloat16") -> None:
    """Stop where a model computes no numbers, though all its weights are numbers.

    Raises:
        LibraryError: its activations go beyond what `dtype` holds, or the scales of its layers did.
    """
    if not is_finite:
        raise LibraryError(
            f"{what} computes no numbers (NaN or infinity) in {dtype}.",
            "Set dtype: bfloat16, which holds larger ones."
            if dtype == "float16"
            else "Use more bits or smaller groups, or quantize-gguf, whose figures are in 32 bits.",
        )


def too_short(found: int, wanted: int, name: str) -> PlanError:
    return PlanError(
        f"{name} has {found} tokens; a window needs {wanted}.", "Give a longer text.", where="quality"
    )
