"""Whether a file that is called GGUF is one: its head is read while the command plans, without llama.cpp."""

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.core.plan import Check, Facts, FileFacts, fail

_KEY = "gguf"
_VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of numbers, by GGUF's types
_STRING, _ARRAY = 8, 9
_DEEPEST = 4  # arrays in arrays


def look_up(config: Config) -> dict[str, str]:
    """For Facts.present: what is wrong with each GGUF file, by its name as written, "" where nothing is."""
    problems = {name: problem_of(path) for name, path in config.gguf_files().items() if path.is_file()}
    return {_KEY: json.dumps(problems)} if problems else {}


def gguf_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Pure; a file that is not there is told by the checks of models."""
    problems: dict[str, str] = json.loads(facts.present.get(_KEY, "{}"))
    for name in config.gguf_files():
        if problems.get(name) and isinstance(facts.files.get(name), FileFacts):
            yield fail(
                name, f"{name} is no whole GGUF file ({problems[name]}).", "Download or make it again."
            )


def problem_of(path: Path) -> str:
    """Why llama.cpp could not load it, as far as its head tells."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 24:
                return f"it has {path.stat().st_size} bytes"
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Head(data).read()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    except (struct.error, ValueError) as error:
        return "it is cut off in its head" if isinstance(error, struct.error) else str(error)
    return ""


class _Head:
    """Walks the metadata and the list of tensors."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._at = 4

    def read(self) -> None:
        """Raises ValueError with what is wrong, struct.error where the file ends too early."""
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, tensors, entries = self._take("<I"), self._take("<Q"), self._take("<Q")
        if version not in _VERSIONS:
            raise ValueError(f"its version is {version}")
        if max(tensors, entries) > len(self._data):
            raise ValueError("its head counts more than it holds")
        names = [self._entry() for _ in range(entries)]
        if "general.architecture" not in names:
            raise ValueError("it names no architecture")
        furthest = max((self._offset() for _ in range(tensors)), default=-1)
        if furthest < 0:
            raise ValueError("it has no tensors")
        if self._at + furthest >= len(self._data):
            raise ValueError("it is cut off: tensors are missing")

    def _take(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise struct.error

    def _text(self) -> str:
        length = self._take("<Q")
        begin = self._at
        self._skip(length)
        return bytes(self._data[begin : self._at]).decode("utf-8", "replace")

    def _entry(self) -> str:
        name = self._text()
        self._value(self._take("<I"), _DEEPEST)
        return name

    def _value(self, kind: int, deep: int) -> None:
        if kind == _STRING:
            self._skip(self._take("<Q"))
        elif kind == _ARRAY and deep:
            inner, count = self._take("<I"), self._take("<Q")
            if inner in _SIZES:
                self._skip(count * _SIZES[inner])
                return
            if count > len(self._data):
                raise ValueError("its head counts more than it holds")
            for _ in range(count):
                self._value(inner, deep - 1)
        elif kind in _SIZES:
            self._skip(_SIZES[kind])
        else:
            raise ValueError(f"its head has a value of the unknown type {kind}")

    def _offset(self) -> int:
        """Of one tensor's data, after the head."""
        self._text()
        self._skip(8 * self._take("<I") + 4)
        return self._take("<Q")
