"""GGUF headers through llama.cpp's own functions (gguf.h): read one, build another, know its exact size.

The file format has one implementation that matters, the one that will load the result; it is in the
library already, so nothing here knows how a header is laid out.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.llama.binding import function, lib, log

ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT: llama.cpp's quantizer and splitter write with no other
_STRING, _ARRAY = 8, 9  # enum gguf_type
_F32 = 0  # enum ggml_type


class _InitParams(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.POINTER(ctypes.c_void_p)))


class _GgmlInitParams(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


_pointer, _text, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
_i64, _int = ctypes.c_int64, ctypes.c_int
_init_from_file = function("gguf_init_from_file", _pointer, _text, _InitParams)
_init_empty = function("gguf_init_empty", _pointer)
_free = function("gguf_free", None, _pointer)
_find_key = function("gguf_find_key", _i64, _pointer, _text)
_kv_type = function("gguf_get_kv_type", _int, _pointer, _i64)
_arr_type = function("gguf_get_arr_type", _int, _pointer, _i64)
_arr_n = function("gguf_get_arr_n", _size, _pointer, _i64)
_arr_str = function("gguf_get_arr_str", _text, _pointer, _i64, _size)
_val_str = function("gguf_get_val_str", _text, _pointer, _i64)
_val_data = function("gguf_get_val_data", _pointer, _pointer, _i64)
_data_offset = function("gguf_get_data_offset", _size, _pointer)
_n_tensors = function("gguf_get_n_tensors", _i64, _pointer)
_tensor_name = function("gguf_get_tensor_name", _text, _pointer, _i64)
_tensor_ne = function("gguf_get_tensor_ne", ctypes.POINTER(_i64), _pointer, _i64)
_tensor_type = function("gguf_get_tensor_type", _int, _pointer, _i64)
_tensor_size = function("gguf_get_tensor_size", _size, _pointer, _i64)
_tensor_offset = function("gguf_get_tensor_offset", _size, _pointer, _i64)
_set_kv = function("gguf_set_kv", None, _pointer, _pointer)
_remove_key = function("gguf_remove_key", _i64, _pointer, _text)
_set_str = function("gguf_set_val_str", None, _pointer, _text, _text)
_set_strings = function("gguf_set_arr_str", None, _pointer, _text, ctypes.POINTER(_text), _size)
_set_u16 = function("gguf_set_val_u16", None, _pointer, _text, ctypes.c_uint16)
_set_i32 = function("gguf_set_val_i32", None, _pointer, _text, ctypes.c_int32)
_set_u32 = function("gguf_set_val_u32", None, _pointer, _text, ctypes.c_uint32)
_add_tensor = function("gguf_add_tensor", None, _pointer, _pointer)
_set_tensor_type = function("gguf_set_tensor_type", None, _pointer, _text, _int)
_meta_size = function("gguf_get_meta_size", _size, _pointer)
_meta_data = function("gguf_get_meta_data", None, _pointer, _pointer)
_ggml_init = function("ggml_init", _pointer, _GgmlInitParams)
_ggml_free = function("ggml_free", None, _pointer)
_get_tensor = function("ggml_get_tensor", _pointer, _pointer, _text)
_new_tensor_2d = function("ggml_new_tensor_2d", _pointer, _pointer, _int, _i64, _i64)
_set_name = function("ggml_set_name", _pointer, _pointer, _text)
_type_name = function("ggml_type_name", _text, _int)
_type_size = function("ggml_type_size", _size, _int)
_row_size = function("ggml_row_size", _size, _int, _i64)
tensor_overhead = function("ggml_tensor_overhead", _size)

# enum gguf_type -> how its value lies in memory.
_SCALARS: dict[int, Any] = {
    0: ctypes.c_uint8, 1: ctypes.c_int8, 2: ctypes.c_uint16, 3: ctypes.c_int16, 4: ctypes.c_uint32,
    5: ctypes.c_int32, 6: ctypes.c_float, 7: ctypes.c_bool, 10: ctypes.c_uint64, 11: ctypes.c_int64,
    12: ctypes.c_double,
}  # fmt: skip


def type_name(number: int) -> str:
    """ggml's own name of a tensor type, in its own letter case: `q4_K`, `bf16`."""
    name: bytes = _type_name(number)
    return name.decode()


@cache
def type_numbers() -> dict[str, int]:
    """The types that a tensor can have, by name in upper case; numbers of removed types have no size."""
    sized = [number for number in range(lib.GGML_TYPE_COUNT) if _type_size(number)]
    return {type_name(number).upper(): number for number in sized}


def padded(nbytes: int) -> int:
    return nbytes + -nbytes % ALIGNMENT


@dataclass(frozen=True)
class TensorInfo:
    """`ne` are the lengths of the dimensions, the contiguous one first; `offset` is from the file's start."""

    name: str
    type: int
    ne: tuple[int, int, int, int]
    nbytes: int
    offset: int

    @property
    def elements(self) -> int:
        return self.ne[0] * self.rows

    @property
    def rows(self) -> int:
        return self.ne[1] * self.ne[2] * self.ne[3]

    def nbytes_as(self, type_number: int) -> int:
        size: int = _row_size(type_number, self.ne[0])
        return size * self.rows


class GgufFile:
    """The header of a file: its tensors, in the order they lie, and its keys.

    Raises:
        PlanError: the file is missing, cut short or no GGUF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        log.clear()
        self._tensors_context = ctypes.c_void_p()
        params = _InitParams(True, ctypes.pointer(self._tensors_context))
        self.handle = _init_from_file(str(path).encode(), params)
        if not self.handle:
            raise PlanError(f"{path} is not a whole GGUF file: {log.reason}.", "Make or download it again.")
        start: int = _data_offset(self.handle)
        self.tensors = tuple(self._tensor(index, start) for index in range(_n_tensors(self.handle)))

    def _tensor(self, index: int, start: int) -> TensorInfo:
        ne = _tensor_ne(self.handle, index)
        return TensorInfo(
            _tensor_name(self.handle, index).decode(),
            _tensor_type(self.handle, index),
            (ne[0], ne[1], ne[2], ne[3]),
            _tensor_size(self.handle, index),
            start + _tensor_offset(self.handle, index),
        )

    def value(self, key: str) -> Any:
        """A key's number, string or list of strings; None where it is absent."""
        index = _find_key(self.handle, key.encode())
        if index < 0:
            return None
        kind = _kv_type(self.handle, index)
        if kind == _STRING:
            return _val_str(self.handle, index).decode("utf-8", "replace")
        if kind == _ARRAY:
            if _arr_type(self.handle, index) != _STRING:
                raise ValueError(f"{key} is an array of numbers")
            return [_arr_str(self.handle, index, i).decode() for i in range(_arr_n(self.handle, index))]
        return _SCALARS[kind].from_address(_val_data(self.handle, index)).value

    def ggml_tensor(self, name: str) -> Any:
        """The address of the library's own description of a tensor."""
        return _get_tensor(self._tensors_context, name.encode())

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            _free(self.handle)
            _ggml_free(self._tensors_context)


class Sink(Protocol):
    """A file, as far as a header needs one."""

    def write(self, data: bytes, /) -> object: ...


class Header:
    """A header that is being built; tensors lie in the order in which they are added."""

    def __init__(self) -> None:
        self.handle = _init_empty()
        self._contexts: list[Any] = []
        self._sources: list[GgufFile] = []

    def copy_keys(self, source: "GgufFile | Header") -> None:
        _set_kv(self.handle, source.handle)

    def remove(self, *keys: str) -> None:
        for key in keys:
            _remove_key(self.handle, key.encode())

    def set_string(self, key: str, value: str) -> None:
        _set_str(self.handle, key.encode(), value.encode())

    def set_strings(self, key: str, values: Sequence[str]) -> None:
        array = (ctypes.c_char_p * len(values))(*(value.encode() for value in values))
        _set_strings(self.handle, key.encode(), array, len(values))

    def set_u16(self, key: str, value: int) -> None:
        _set_u16(self.handle, key.encode(), value)

    def set_i32(self, key: str, value: int) -> None:
        _set_i32(self.handle, key.encode(), value)

    def set_u32(self, key: str, value: int) -> None:
        _set_u32(self.handle, key.encode(), value)

    def add(self, source: GgufFile, name: str, type_number: int | None = None) -> None:
        """A tensor of another file's shape, in its type or another one."""
        self._sources.append(source)  # the description must live as long as this header is built
        _add_tensor(self.handle, source.ggml_tensor(name))
        if type_number is not None:
            _set_tensor_type(self.handle, name.encode(), type_number)

    def add_f32(self, name: str, columns: int, rows: int) -> None:
        """A new tensor of `rows` times `columns` 32-bit floats."""
        context = _ggml_init(_GgmlInitParams(tensor_overhead(), None, True))
        self._contexts.append(context)
        tensor = _new_tensor_2d(context, _F32, columns, rows)
        _set_name(tensor, name.encode())
        _add_tensor(self.handle, tensor)

    @property
    def nbytes(self) -> int:
        size: int = _meta_size(self.handle)
        return size

    def write(self, file: "Sink") -> None:
        buffer = ctypes.create_string_buffer(self.nbytes)
        _meta_data(self.handle, buffer)
        file.write(buffer.raw)

    def __del__(self) -> None:
        _free(self.handle)
        for context in self._contexts:
            _ggml_free(context)
