"""Values that are no numbers: in what a model answers, and in the weights that this comes from."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.errors import LibraryError
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, type_numbers

# A type's exponent bits: where all are set the value is infinite or no number.
_EXPONENTS = {"F32": (np.uint32, 0x7F800000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}
_PIECE = 1 << 24  # values that are looked at at once


def check_finite(
    logits: NDArray[np.float32], path: Path, weights: Path | None = None, has_imatrix: bool = False
) -> None:
    """Refuse a model that answers with NaN or infinity.

    Args:
        path: the file that answered.
        weights: the unquantized file that it was made from; None where that is the file itself.

    Raises:
        LibraryError: it does; the sentence says whether the model's own weights are at fault.
    """
    if np.isfinite(logits).all():
        return
    if found := tensor_without_numbers(weights or path):
        raise no_numbers(found)
    raise LibraryError(
        f"{path.name} answers with values that are not numbers.",
        "Use another type, or another importance matrix: its weights do not survive this one."
        if has_imatrix
        else "Use BF16 or another type; if that does the same, the model's weights are damaged.",
    )


def no_numbers(tensor: str) -> LibraryError:
    """The refusal of a model with such a tensor."""
    return LibraryError(
        f"The model's own weights hold values that are no numbers (NaN or infinity): tensor {tensor}.",
        "Get the model's files anew, or another model: no type can mend it.",
    )


def tensor_without_numbers(path: Path) -> str | None:
    """The first tensor of a file with NaN or infinity in it; those that are quantized are not looked at."""
    kinds = {type_numbers()[name]: known for name, known in _EXPONENTS.items()}
    for tensor in GgufFile(path).tensors:
        if tensor.type not in kinds:
            continue
        dtype, mask = kinds[tensor.type]
        values = np.memmap(path, dtype, "r", tensor.offset, (tensor.elements,))
        for start in range(0, tensor.elements, _PIECE):
            if ((values[start : start + _PIECE] & mask) == mask).any():
                return tensor.name
    return None
