"""The head of a GGUF file without llama.cpp: what it says of itself, and where its tensors lie.

Source: ggml's docs/gguf.md.
"""

import struct
from collections.abc import Iterator
from typing import Any

# Of numbers, by GGUF's types.
_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_DEEPEST = 4  # arrays in arrays
VERSIONS = (2, 3)


class GgufHead:
    """Walks through a head, once: first `entries`, then `offsets`.

    `data` is a file that is mapped into memory, or its first bytes.  Raises struct.error where it ends too
    early, and ValueError with what is wrong: a text that goes on with "it" or "its".
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self.at = 4
        if bytes(data[:4]) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, self._tensors, self._entries = self._take("<I"), self._take("<Q"), self._take("<Q")
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}")

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Keys and their values; those of arrays are left out and come as None."""
        for _ in range(self._entries):
            key = self._text()
            yield key, self._value(self._take("<I"), _DEEPEST)

    def offsets(self) -> Iterator[int]:
        """Of each tensor's data, in bytes after the head; read the entries first."""
        for _ in range(self._tensors):
            self._text()
            self._skip(8 * self._take("<I") + 4)
            yield self._take("<Q")

    def _take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self.at)
        self.at += struct.calcsize(form)
        return value

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise struct.error

    def _text(self) -> str:
        length = self._take("<Q")
        begin = self.at
        self._skip(length)
        return bytes(self._data[begin : self.at]).decode("utf-8", "replace")

    def _value(self, kind: int, deep: int) -> Any:
        if kind in _NUMBERS:
            return self._take(_NUMBERS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY or not deep:
            raise ValueError(f"its head has a value of the unknown type {kind}")
        inner, count = self._take("<I"), self._take("<Q")
        if inner in _NUMBERS:
            self._skip(count * struct.calcsize(_NUMBERS[inner]))
        else:
            for _ in range(count):  # each takes at least its own length, so a false count ends with the data
                self._value(inner, deep - 1)
        return None
