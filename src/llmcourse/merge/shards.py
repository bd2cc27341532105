"""Write safetensors files tensor by tensor, while the next tensor is being computed.

mergekit gathers a whole file in memory before it writes it.  Here each tensor goes to disk as soon as
it is merged, by a thread of its own, so memory holds a few tensors whatever the file size, and a
finished file is a point to resume from.  Which tensor goes to which file is decided beforehand
(mergekit's own rule: a new file when the next tensor would not fit), so names are final at once.

Source: safetensors format (8 bytes header length, JSON header that may end in spaces, data without gaps).
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import IO, Any

import safetensors.torch
import torch

# safetensors' names of the dtypes that checkpoints hold.
_DTYPES = {
    torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
# The header is written last, when sizes are known; its room is kept with space for any shape.
_ENTRY_BYTES = 200
_TENSORS_WAITING = 2


@dataclass(frozen=True)
class Shard:
    """One file to write, and the tensors it will hold in the order they are computed."""

    name: str
    tensors: tuple[str, ...]


def plan_shards(sizes: Sequence[tuple[str, int]], max_shard_bytes: int) -> list[Shard]:
    """Distribute (tensor, bytes) over files as mergekit 0.1.5 does (io/tensor_writer.py)."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes:
        if groups[-1] and 0 < max_shard_bytes < filled + size:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return [Shard("model.safetensors", tuple(groups[0]))]
    return [
        Shard(f"model-{index:05d}-of-{len(groups):05d}.safetensors", tuple(names))
        for index, names in enumerate(groups, start=1)
    ]


@dataclass
class _OpenFile:
    """A file being written: data is appended behind the room kept for the header."""

    path: Path
    file: IO[bytes]
    room: int
    entries: dict[str, Any] = field(default_factory=dict)
    end: int = 0
    is_aligned: bool = True


class ShardWriter:
    """Takes tensors in any order; offers the `save_tensor` that mergekit's SaveTensor task calls."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self._folder = folder
        self._shard_of = {name: shard for shard in shards for name in shard.tensors}
        self._left = {shard.name: set(shard.tensors) for shard in shards}
        self._open: dict[str, _OpenFile] = {}
        self._lock = threading.Lock()
        self._queue: Queue[tuple[_OpenFile, torch.Tensor] | None] = Queue(_TENSORS_WAITING)
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
            size = tensor.numel() * tensor.element_size()
            out.is_aligned &= out.end % tensor.element_size() == 0
            offsets = [out.end, out.end + size]
            out.entries[name] = {
                "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets
            }  # fmt: skip
            out.end += size
            self._queue.put((out, tensor))
        self._raise_failure()

    def _start(self, shard: Shard) -> _OpenFile:
        path = self._folder / shard.name
        room = sum(len(json.dumps(name)) + _ENTRY_BYTES for name in shard.tensors) + _ENTRY_BYTES
        room += -room % 8
        file = path.open("wb")
        file.seek(8 + room)
        self._open[shard.name] = out = _OpenFile(path, file, room)
        return out

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            out, tensor = item
            try:
                if self._failure is None and tensor.numel():
                    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                    out.file.write(flat.numpy().data)
            except OSError as error:
                self._failure = error
            finally:
                del item, tensor
                self._queue.task_done()

    def tensor_done(self, name: str) -> str | None:
        """Say that a tensor is written or was left out; returns the file that is complete by it, if any.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        shard = self._shard_of[name]
        self._left[shard.name].discard(name)
        if self._left[shard.name] or shard.name not in self._open:
            return None
        self._queue.join()
        self._raise_failure()
        self._close(self._open.pop(shard.name))
        return shard.name

    def _close(self, out: _OpenFile) -> None:
        header = json.dumps({"__metadata__": {"format": "pt"}} | out.entries, separators=(",", ":")).encode()
        assert len(header) <= out.room, "the room kept for the header holds any entries"
        with out.file as file:
            file.seek(0)
            file.write(out.room.to_bytes(8, "little") + header.ljust(out.room))
        if not out.is_aligned:
            # Readers map tensors in place and want them aligned; the library sorts by dtype.
            tensors = safetensors.torch.load_file(out.path)
            safetensors.torch.save_file(tensors, out.path, {"format": "pt"})
        self.weight_map |= dict.fromkeys(out.entries, out.path.name)
        self.total_bytes += out.end

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the thread; files not complete stay as they are and are written anew by the next run."""
        self._queue.put(None)
        self._thread.join()
        for out in self._open.values():
            out.file.close()
