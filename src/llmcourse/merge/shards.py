"""Write safetensors files tensor by tensor, while the next tensor is being computed.

mergekit gathers a whole file in memory before it writes it.  Here each tensor goes to disk as soon as
it is merged, by a thread of its own, so memory holds a few tensors whatever the file size, and a
finished file is a point to resume from.  Which tensor goes to which file is decided beforehand
(mergekit's own rule: a new file when the next tensor would not fit), so names are final at once.

Source: safetensors format (8 bytes header length, JSON header that may end in spaces, data without gaps).
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from queue import Queue
from typing import IO, Any

import safetensors.torch
import torch

from llmcourse.core.artifact import OutputFile, sha256_of
from llmcourse.merge.finiteness import not_finite
from llmcourse.merge.not_finite import KEY

# safetensors' names of the dtypes that checkpoints hold.
DTYPES = {
    torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
_WIDTHS = {name: dtype.itemsize for dtype, name in DTYPES.items()}
# Room in the header for each entry beyond what is planned, should a shape turn out longer.
_SPARE_BYTES = 16
_TENSORS_WAITING = 2


@dataclass(frozen=True)
class PlannedTensor:
    """What is expected of a tensor; `dtype` is safetensors' name of it.

    `parts` are written in its place where there are any: the matrices of experts that are merged as one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: "tuple[PlannedTensor, ...]" = ()

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * _WIDTHS[self.dtype]

    @property
    def written(self) -> "tuple[PlannedTensor, ...]":
        return self.parts or (self,)


@dataclass(frozen=True)
class Shard:
    """One file to write, and the tensors it will hold in the order they are computed."""

    name: str
    tensors: tuple[PlannedTensor, ...]


def plan_shards(tensors: Sequence[PlannedTensor], max_shard_bytes: int) -> list[Shard]:
    """Distribute tensors over files as mergekit 0.1.5 does (io/tensor_writer.py)."""
    groups: list[list[PlannedTensor]] = [[]]
    filled = 0
    for tensor in tensors:
        if groups[-1] and 0 < max_shard_bytes < filled + tensor.nbytes:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += tensor.nbytes
    if len(groups) == 1:
        return [Shard("model.safetensors", tuple(groups[0]))]
    return [
        Shard(f"model-{index:05d}-of-{len(groups):05d}.safetensors", tuple(group))
        for index, group in enumerate(groups, start=1)
    ]


# Gives what is written in place of a merged tensor, by name.
Split = Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]]


@dataclass
class _Layout:
    """Which tensor lies where in a file's data."""

    entries: dict[str, Any] = field(default_factory=dict)
    end: int = 0
    is_aligned: bool = True

    def place(self, name: str, dtype: str, shape: Sequence[int], nbytes: int) -> None:
        offsets = [self.end, self.end + nbytes]
        self.entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        self.is_aligned &= self.end % _WIDTHS[dtype] == 0
        self.end += nbytes

    def header(self) -> bytes:
        return json.dumps({"__metadata__": {"format": "pt"}} | self.entries, separators=(",", ":")).encode()

    def padded_header(self, room: int) -> bytes:
        """The header with its length in front, filled up with spaces to `room` bytes."""
        header = self.header()
        if len(header) > room:
            raise RuntimeError("the merged tensors are not those that were planned")
        return room.to_bytes(8, "little") + header.ljust(room)


@dataclass
class _OpenFile:
    """A file being written: data is appended behind the header, which is written again if it differs."""

    path: Path
    file: IO[bytes]
    header: bytes  # as planned, with its length and room to spare
    digest: Any = field(default_factory=hashlib.sha256)
    layout: _Layout = field(default_factory=_Layout)
    not_finite: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, data: memoryview) -> None:
        self.file.write(data)
        self.digest.update(data)


class ShardWriter:
    """Takes tensors in any order; offers the `save_tensor` that mergekit's SaveTensor task calls."""

    def __init__(self, folder: Path, shards: Sequence[Shard], split: Split | None = None) -> None:
        self._folder = folder
        self._split = split or (lambda name, tensor: {name: tensor})
        self._shard_of = {tensor.name: shard for shard in shards for tensor in shard.tensors}
        self._left = {shard.name: {tensor.name for tensor in shard.tensors} for shard in shards}
        self._open: dict[str, _OpenFile] = {}
        self._lock = threading.Lock()
        self._queue: Queue[tuple[_OpenFile, torch.Tensor, str, str] | None] = Queue(_TENSORS_WAITING)
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()
        self.weight_map: dict[str, str] = {}
        self.total_bytes = 0

    def save_tensor(self, name: str, tensor: torch.Tensor, clone: bool = False) -> None:
        """Queue a tensor; it is not changed or kept after it is written, so no clone is needed."""
        with self._lock:
            shard = self._shard_of[name]
            out = self._open.get(shard.name) or self._start(shard)
            for part, value in self._split(name, tensor).items():
                nbytes = value.numel() * value.element_size()
                out.layout.place(part, DTYPES[value.dtype], value.shape, nbytes)
                self._queue.put((out, value, name, part))
        self._raise_failure()

    def _start(self, shard: Shard) -> _OpenFile:
        planned = _Layout()
        for tensor in (part for planned_tensor in shard.tensors for part in planned_tensor.written):
            planned.place(tensor.name, tensor.dtype, tensor.shape, tensor.nbytes)
        room = len(planned.header()) + _SPARE_BYTES * len(planned.entries)
        header = planned.padded_header(room + -room % 8)
        path = self._folder / shard.name
        self._open[shard.name] = out = _OpenFile(path, path.open("wb"), header)
        out.write(memoryview(header))
        return out

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            out, tensor, name, part = item
            try:
                if self._failure is None and tensor.numel():
                    flat = tensor.detach().cpu().contiguous().reshape(-1)
                    out.write(flat.view(torch.uint8).numpy().data)
                    if what := not_finite(part, flat):
                        out.not_finite[part] = (what, name)
            except OSError as error:
                self._failure = error
            finally:
                del item, tensor
                self._queue.task_done()

    def tensor_done(self, name: str) -> OutputFile | None:
        """Say that a tensor is written or was left out; returns the file that is complete by it, if any.

        The file's `about` names what is not finite in it, and the merged tensor that each is a part of.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        shard = self._shard_of[name]
        self._left[shard.name].discard(name)
        if self._left[shard.name] or shard.name not in self._open:
            return None
        self._queue.join()
        self._raise_failure()
        return self._close(self._open.pop(shard.name))

    def _close(self, out: _OpenFile) -> OutputFile:
        header = out.layout.padded_header(len(out.header) - 8)
        is_as_planned = header == out.header
        with out.file as file:
            if not is_as_planned:
                file.seek(0)
                file.write(header)
        if not out.layout.is_aligned:
            # Readers map tensors in place and want them aligned; the library sorts by dtype.
            safetensors.torch.save_file(safetensors.torch.load_file(out.path), out.path, {"format": "pt"})
        self.weight_map |= dict.fromkeys(out.layout.entries, out.path.name)
        self.total_bytes += out.layout.end
        was_hashed = is_as_planned and out.layout.is_aligned
        sha256 = out.digest.hexdigest() if was_hashed else sha256_of(out.path)
        about = {KEY: out.not_finite} if out.not_finite else {}
        return OutputFile(out.path.name, out.path.stat().st_size, sha256, about=about)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread; files not complete stay as they are and are written anew by the next run."""
        self._queue.put(None)
        self._thread.join()
        for out in self._open.values():
            out.file.close()
