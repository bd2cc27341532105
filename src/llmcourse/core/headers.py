"""Headers of safetensors files, read exactly: 8 bytes, then the header, and nothing else."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmcourse.core.model import ModelFiles

_MAX_HEADER_BYTES = 100_000_000  # the safetensors library refuses longer ones


def safetensors_header(files: "ModelFiles", name: str) -> dict[str, Any]:
    """The entries of a safetensors header, read exactly: not one byte of the weights behind it.

    Raises:
        ValueError: the header is not JSON, or the file's size is not what the header says.

    Source: safetensors format description, v0.8 (8 bytes length, JSON header, data).
    """
    size = files.sizes[name]
    length = int.from_bytes(files.span(name, 0, 8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header: dict[str, Any] = json.loads(files.span(name, 8, length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if expected != size:
        raise ValueError(f"{size:,} bytes instead of {expected:,}")
    return header
