"""What the converter's last words mean, in two sentences."""

import signal
from collections.abc import Sequence

from llmcourse.core.errors import LibraryError, LlmcourseError, PlanError

# Beginnings of lines by which it says that something is wrong (exllamav2 0.3.2, conversion/*.py).
_ERRORS = ("## ", "** Error", "** Warning: Not enough")


def is_telling(line: str) -> bool:
    """Whether a line of the log says why the converter stopped."""
    text = line.strip()
    is_said = text.startswith(_ERRORS) and not text.startswith("## Warning")
    return is_said or _is_exception(text)


def _is_exception(text: str) -> bool:
    name, colon, _ = text.partition(":")
    return bool(colon) and name.replace(".", "").isidentifier() and name.endswith(("Error", "Exception"))


def failure_of(name: str, code: int, telling: Sequence[str], problem: str) -> LlmcourseError:
    """The error of a call that did not make what it should, by `telling` lines or its files' `problem`."""
    said = " ".join(telling)
    if code == -signal.SIGKILL:
        return LibraryError(
            f"The system killed the converter ({name}); most likely memory ran out.",
            "Close other programs or use a machine with more memory; the same command goes on from here.",
        )
    if "OutOfMemoryError" in said or "CUDA out of memory" in said:
        return PlanError(
            f"The GPU's memory does not suffice ({name}).",
            "Free some of it, use a larger GPU, or set calibration.length and measurement_length lower.",
        )
    if "No space left on device" in said:
        return PlanError(f"The disk is full ({name}).", "Free some space; the same command goes on.")
    if "Not enough sample data" in said:
        return PlanError(
            f"The calibration text is too short ({name}).",
            "Give more text, or set calibration.samples, calibration.length or measurement_rows lower.",
        )
    if "no NVIDIA driver" in said or "driver on your system is too old" in said:
        return LibraryError(f"torch cannot use the GPU: {telling[-1]}", "Update the NVIDIA driver.")
    if "Measurement/inference error" in said:
        return LibraryError(
            f"The model's own values overflow in float16 ({name}): {telling[-1].lstrip('# ')}",
            "Use another format for this model, as quantize-gguf or quantize-gptq make.",
        )
    what = telling[-1].lstrip("#* ").rstrip(".") if telling else problem
    return LibraryError(f"exllamav2 failed ({name}): {what}.", "Read the end of its log.")
