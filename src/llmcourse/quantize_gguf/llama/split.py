"""Split a GGUF file into shards that llama.cpp loads, and that its own tool merges back.

Shards are byte for byte those of `llama-gguf-split --split-max-size`: all keys in the first one, three
`split.*` keys in each, tensors in their order, each shard filled until the next tensor would not fit.  The
file is taken apart from its end and shortened as it goes, so the disk holds one shard more than the whole.

Source: tools/gguf-split/gguf-split.cpp (split_strategy), src/llama.cpp (llama_split_path).
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from llmcourse.core.artifact import OutputFile
from llmcourse.core.progress import Progress, Step
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, Header, TensorInfo, padded

_BLOCK = 16 * 2**20


def group_tensors(sizes: Sequence[tuple[str, int]], max_bytes: int) -> list[list[str]]:
    """Distribute tensors, given as (name, bytes), over shards; 0 bytes mean one shard for all."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, nbytes in sizes:
        if groups[-1] and 0 < max_bytes < filled + padded(nbytes):
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += padded(nbytes)
    return groups


def shard_name(name: str, index: int, count: int) -> str:
    """`index` counts from 0; a file that is not split keeps its name."""
    return name if count == 1 else f"{name.removesuffix('.gguf')}-{index + 1:05d}-of-{count:05d}.gguf"


def shard_header(groups: Sequence[Sequence[str]], index: int, keys: GgufFile | Header) -> Header:
    """The header of a shard, still without its tensors; the first holds all keys of the whole."""
    header = Header()
    if index == 0:
        header.copy_keys(keys)
    if len(groups) > 1:
        header.set_u16("split.no", index)
        header.set_i32("split.tensors.count", sum(len(group) for group in groups))
        header.set_u16("split.count", len(groups))
    return header


def split_file(
    whole: Path, folder: Path, name: str, groups: Sequence[Sequence[str]], progress: Progress
) -> Iterator[OutputFile]:
    """Take `whole` apart into `folder`; yields each shard as it gets its name, the last one first.

    Raises:
        OSError: the disk is full, or the folder is not ours.
    """
    gguf = GgufFile(whole)
    tensors = {tensor.name: tensor for tensor in gguf.tensors}
    with progress.step(f"split {name}", sum(tensor.nbytes for tensor in gguf.tensors), "B") as step:
        for index in reversed(range(len(groups))):
            header = shard_header(groups, index, gguf)
            for tensor in groups[index]:
                header.add(gguf, tensor)
            partial = whole.with_name(whole.name + ".shard")
            members = [tensors[tensor] for tensor in groups[index]]
            shard = shard_name(name, index, len(groups))
            size, sha256 = _write_shard(partial, header, whole, members, step)
            partial.rename(folder / shard)
            os.truncate(whole, members[0].offset)
            yield OutputFile(shard, size, sha256)
    whole.unlink()


def _write_shard(
    path: Path, header: Header, whole: Path, tensors: Sequence[TensorInfo], step: Step
) -> tuple[int, str]:
    with path.open("wb") as out, whole.open("rb") as source:
        hashed = _HashedFile(out)
        header.write(hashed)
        for tensor in tensors:
            source.seek(tensor.offset)
            for start in range(0, tensor.nbytes, _BLOCK):
                hashed.write(source.read(min(_BLOCK, tensor.nbytes - start)))
            hashed.write(bytes(padded(tensor.nbytes) - tensor.nbytes))
            step.advance(tensor.nbytes)
    return hashed.size, hashed.digest.hexdigest()


class _HashedFile:
    """Counts and hashes what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
