"""llama.cpp's importance matrix files: read both formats, write the present one.

An entry holds, for one weight tensor, the sums of squared activations of each input column, and how many
activations were summed: one count for a dense layer, one per expert for a layer of experts.

Source: tools/imatrix/imatrix.cpp (save_imatrix), common/imatrix-loader.cpp, tools/quantize/quantize.cpp
(load_imatrix), for the names, the normalization and what a missing count means.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, Header, padded

Floats = NDArray[np.float32]

_DATASETS, _CHUNK_COUNT, _CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class Entry:
    """`sums` of shape (counts, columns); `counts` of shape (counts,), the number of rows summed."""

    sums: Floats
    counts: Floats

    @property
    def means(self) -> Floats:
        """Mean squared activations, flat; 1 throughout for an expert that was never chosen."""
        hit = self.counts[:, None] > 0
        means = np.divide(self.sums, self.counts[:, None], out=np.ones_like(self.sums), where=hit)
        return means.reshape(-1)


@dataclass(frozen=True)
class Imatrix:
    """Entries by the name of the weight tensor, and what they were computed from.

    `datasets` are names of text files, `chunk_count` windows of `chunk_size` tokens were seen.
    """

    entries: Mapping[str, Entry] = field(repr=False)
    datasets: tuple[str, ...]
    chunk_count: int
    chunk_size: int

    @property
    def never_chosen(self) -> dict[str, list[int]]:
        """The experts of each layer that no token of the text went to."""
        empty = {name: np.flatnonzero(entry.counts == 0) for name, entry in self.entries.items()}
        return {name: [int(expert) for expert in experts] for name, experts in empty.items() if experts.size}

    def write(self, path: Path) -> None:
        """Write the GGUF format, entries in the order of their names."""
        names = sorted(self.entries)
        header = Header()
        header.set_string("general.type", "imatrix")
        header.set_strings(_DATASETS, self.datasets)
        header.set_u32(_CHUNK_COUNT, self.chunk_count)
        header.set_u32(_CHUNK_SIZE, self.chunk_size)
        for name in names:
            rows, columns = self.entries[name].sums.shape
            header.add_f32(name + _SUMS, columns, rows)
            header.add_f32(name + _COUNTS, 1, rows)
        with path.open("wb") as file:
            header.write(file)
            for name in names:
                _write_array(file, self.entries[name].sums)
                _write_array(file, self.entries[name].counts)


def _write_array(file: IO[bytes], values: Floats) -> None:
    data = np.ascontiguousarray(values, dtype=np.float32).tobytes()
    file.write(data.ljust(padded(len(data)), b"\0"))


def read_imatrix(path: Path) -> Imatrix:
    """Read a `.gguf` or an old `.dat` file.

    Raises:
        PlanError: it is neither, or it is damaged.
    """
    with path.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    try:
        return _read_gguf(path) if is_gguf else _read_legacy(path.read_bytes())
    except (ValueError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise PlanError(
            f"{path} is not an importance matrix that can be read ({error}).",
            "Give a file that llama-imatrix or llmcourse wrote.",
        ) from None


def _read_gguf(path: Path) -> Imatrix:
    gguf = GgufFile(path)
    datasets, chunks, size = gguf.value(_DATASETS), gguf.value(_CHUNK_COUNT), gguf.value(_CHUNK_SIZE)
    if datasets is None or chunks is None or size is None:
        raise ValueError("it lacks the keys of one")
    arrays = {tensor.name: _array(path, tensor) for tensor in gguf.tensors}
    names = {name.removesuffix(_SUMS) for name in arrays if name.endswith(_SUMS)}
    entries = {name: _entry(arrays[name + _SUMS], arrays[name + _COUNTS]) for name in names}
    if not entries:
        raise ValueError("it has no entries")
    return Imatrix(entries, tuple(datasets), int(chunks), int(size))


def _array(path: Path, tensor: Any) -> Floats:
    return np.fromfile(path, np.float32, tensor.elements, offset=tensor.offset)


def _entry(sums: Floats, counts: Floats) -> Entry:
    if not np.isfinite(sums).all():
        raise ValueError("it has values that are not numbers")
    return Entry(sums.reshape(len(counts), -1), np.rint(counts))


def _read_legacy(data: bytes) -> Imatrix:
    """Sums are stored divided by the number of tokens and multiplied by that of chunks (`ncall`)."""
    reader = _Reader(data)
    entries: dict[str, Entry] = {}
    for _ in range(reader.integer()):
        name = reader.take(reader.integer()).decode()
        ncall = max(reader.integer(), 1)
        sums = np.frombuffer(reader.take(4 * reader.integer()), np.float32)
        entries[name] = _entry(sums, np.array([ncall], np.float32))
    if not entries:
        raise ValueError("it has no entries")
    if reader.is_at_end:
        return Imatrix(entries, (), 0, 0)
    chunks = reader.integer()
    datasets = () if reader.is_at_end else (reader.take(reader.integer()).decode("utf-8", "replace"),)
    return Imatrix(entries, datasets, chunks, 0)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def integer(self) -> int:
        number: int = struct.unpack("<i", self.take(4))[0]
        return number

    def take(self, length: int) -> bytes:
        if not 0 <= length <= len(self._data) - self._at:
            raise ValueError("it is cut short")
        self._at += length
        return self._data[self._at - length : self._at]
