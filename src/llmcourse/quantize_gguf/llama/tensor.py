"""The library's tensors as numpy arrays, inside the evaluation callback.

The binding has no struct ggml_tensor, so this mirrors ggml.h of the tested version.  The layout is not a
public promise: its size is checked against the library's own, and another size is refused.

Source: ggml.h (struct ggml_tensor, enum ggml_op), ggml-backend.h (ggml_backend_tensor_get).
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.errors import LibraryError
from llmcourse.quantize_gguf.llama.binding import function, lib
from llmcourse.quantize_gguf.llama.gguf_file import tensor_overhead
from llmcourse.quantize_gguf.versions import INSTALL

_DIMENSIONS, _OP_PARAMS, _SOURCES, _NAME = 4, 16, 10, 64
_OBJECT_BYTES = 32  # struct ggml_object, which ggml_tensor_overhead counts as well


class GgmlTensor(ctypes.Structure):
    """`ne` lengths of the dimensions, the contiguous one first; `nb` strides in bytes; `src` operands."""


GgmlTensor._fields_ = (
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * _DIMENSIONS),
    ("nb", ctypes.c_size_t * _DIMENSIONS),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * _OP_PARAMS),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(GgmlTensor) * _SOURCES),
    ("view_src", ctypes.POINTER(GgmlTensor)),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * _NAME),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
)

_op_name = function("ggml_op_name", ctypes.c_char_p, ctypes.c_int)
_nbytes = function("ggml_nbytes", ctypes.c_size_t, ctypes.POINTER(GgmlTensor))
_tensor_get = function(
    "ggml_backend_tensor_get",
    None,
    ctypes.POINTER(GgmlTensor),
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_size_t,
)


def check_layout() -> None:
    """Compare the mirror with the library.

    Raises:
        LibraryError: the installed version lays its tensors out in another way.
    """
    if tensor_overhead() != ctypes.sizeof(GgmlTensor) + _OBJECT_BYTES:
        raise LibraryError(
            f"llama.cpp {lib.llama_version().decode()} lays its tensors out in a way that is not known.",
            f"{INSTALL} (or give an imatrix file).",
        )


def op_number(name: str) -> int:
    """The number of an operation (enum ggml_op) by the library's own name of it, such as MUL_MAT."""
    number = 0
    while (found := _op_name(number)) != name.encode():
        if found is None:
            raise LibraryError(f"llama.cpp has no operation {name}.", "Install the version that was tested.")
        number += 1
    return number


def array_of(tensor: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """A copy of a tensor, of its four dimensions in numpy's order, wherever it is stored.

    Args:
        tensor: a pointer to a `GgmlTensor` of 32-bit entries; views with strides are well.
    """
    data = np.empty(_nbytes(tensor), np.uint8)
    _tensor_get(tensor, data.ctypes.data, 0, data.size)
    shape, strides = tuple(tensor[0].ne)[::-1], tuple(tensor[0].nb)[::-1]
    return np.lib.stride_tricks.as_strided(data.view(dtype), shape, strides)
