"""Write a GGUF file from what the converter prepared: whole, or as a skeleton without data.

The converter's writer packs metadata and tensor infos.  The data is written here: the converter computes a
tensor, writes it, computes the next one, and the file would have to be read again for its hash.  Here a
thread writes and hashes a tensor while the next one is computed, so two are in memory and no more.
"""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from llmcourse.core.artifact import OutputFile
from llmcourse.core.progress import Progress, Step

# The embeddings of a large vocabulary take gigabytes in float32: nothing else is in memory meanwhile.
_LARGE_BYTES = 1 << 28
_PIECE_BYTES = 4 << 20  # of the data are written and hashed while they are in the processor's cache


def write_skeleton(writer: Any, path: Path) -> int:
    """Write a file whose tensors are one hole, and return its size in bytes.

    All else is as in the real file, so a dry run of quantization reads exact sizes from it.
    """
    start = _write_head(writer, path)
    size = start + sum(_padded(writer, info.nbytes) for info in _infos(writer).values())
    with path.open("r+b") as file:
        file.truncate(size)
    return size


def write_file(writer: Any, path: Path, name: str, progress: Progress) -> OutputFile:
    """Write the whole file to `path` and return it under `name`, which it is going to have.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    infos = _infos(writer)
    start = _write_head(writer, path)
    size = start + sum(_padded(writer, info.nbytes) for info in infos.values())
    with path.open("r+b", buffering=0) as file, progress.step("convert", size, "B") as step:
        output = _HashedFile(file, step)
        output.skip_written(start)
        with ThreadPoolExecutor(max_workers=1) as pool:
            written: Future[None] | None = None
            for info in infos.values():
                if written is not None and info.nbytes > _LARGE_BYTES:
                    written.result()
                tensor, info.tensor = _computed(info.tensor), None
                if written is not None:
                    written.result()
                written = pool.submit(output.append, tensor, _padded(writer, info.nbytes))
                del tensor
            if written is not None:
                written.result()
        return OutputFile(name, size, output.sha256())


def _write_head(writer: Any, path: Path) -> int:
    """Write all that comes before the data, and return where that begins."""
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for file in writer.fout:
        writer.write_padding(file, file.tell())
    writer.close()
    return path.stat().st_size


def _infos(writer: Any) -> dict[str, Any]:
    (infos,) = writer.tensors  # one file: no split was asked for
    return dict(infos)


def _padded(writer: Any, nbytes: int) -> int:
    return int(writer.ggml_pad(nbytes, writer.data_alignment))


def _computed(tensor: Any) -> Any:
    """The values of a lazy tensor; one that is computed in chunks while it is written stays as it is."""
    return tensor.to_eager(tensor) if hasattr(tensor, "to_eager") else tensor


class _HashedFile:
    """A file that is written from front to back, and its hash so far."""

    def __init__(self, file: IO[bytes], step: Step) -> None:
        self._file = file
        self._step = step
        self._digest = hashlib.sha256()

    def skip_written(self, nbytes: int) -> None:
        """Go behind what is in the file already."""
        while nbytes:
            piece = self._file.read(min(nbytes, _PIECE_BYTES))
            self._take(memoryview(piece))
            nbytes -= len(piece)

    def append(self, tensor: Any, nbytes: int) -> None:
        """Write a tensor, filled up with zeros to `nbytes`."""
        if isinstance(tensor, np.ndarray):
            data = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
            for start in range(0, len(data), _PIECE_BYTES):
                self._write(data[start : start + _PIECE_BYTES])
        else:
            start = self._file.tell()
            tensor.tofile(self._file)
            self._file.seek(start)
            self.skip_written(tensor.nbytes)
        self._write(memoryview(bytes(nbytes - tensor.nbytes)))

    def _write(self, piece: memoryview) -> None:
        done = 0
        while done < len(piece):  # a disk that has just become full takes a part first
            done += self._file.write(piece[done:])
        self._take(piece)

    def _take(self, piece: memoryview) -> None:
        self._digest.update(piece)
        self._step.advance(len(piece))

    def sha256(self) -> str:
        return self._digest.hexdigest()
