"""Write safetensors files from a stream of tensors, holding one tensor at a time.

`safetensors.torch.save_file` wants the whole file in memory. The format is a length, a JSON header and the
bytes; source: https://github.com/huggingface/safetensors#format.
"""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

_DTYPE_NAMES: Final = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}


@dataclass(frozen=True)
class TensorSpec:
    """What a header has to say about a tensor before the tensor exists."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_shards(
    folder: Path, specs: list[TensorSpec], tensors: Iterator[torch.Tensor], shard_bytes: int | None
) -> None:
    """Write `tensors`, in the order of `specs`, as model.safetensors or as shards with an index."""
    shards = _split(specs, shard_bytes)
    if len(shards) == 1:
        _write_file(folder / "model.safetensors", specs, tensors)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_file(folder / name, shard, tensors)
        weight_map |= {spec.name: name for spec in shard}
    index = {"metadata": {"total_size": sum(s.size_bytes for s in specs)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def _split(specs: list[TensorSpec], shard_bytes: int | None) -> list[list[TensorSpec]]:
    shards: list[list[TensorSpec]] = [[]]
    size = 0
    for spec in specs:
        if shard_bytes is not None and shards[-1] and size + spec.size_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(spec)
        size += spec.size_bytes
    return shards


def _write_file(path: Path, specs: list[TensorSpec], tensors: Iterator[torch.Tensor]) -> None:
    """Take from `tensors` as many as there are `specs` and write them."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in specs:
        end = offset + spec.size_bytes
        header[spec.name] = {
            "dtype": _DTYPE_NAMES[spec.dtype],
            "shape": spec.shape,
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in specs:
            file.write(next(tensors).contiguous().view(-1).view(torch.uint8).numpy().data)
