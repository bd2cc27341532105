"""A model folder that has everything but the weights: what is planned is examined before it is downloaded.

The small files are linked; the weights are safetensors files whose header is true and whose data is a
hole that takes no space.  The converter cannot tell the difference as long as it reads no values.
"""

import json
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from llmcourse.core.errors import PlanError

_WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pth", ".pt", ".h5", ".msgpack", ".onnx")


def make_stand_in(model: Path, tensors: Mapping[str, Mapping[str, Any]], place: Path) -> Path:
    """Build the folder under `place` and return it; it has the model's folder name, which becomes metadata.

    Args:
        tensors: name -> {"dtype": safetensors' name of it, "shape": [...], "file": where it lies}; without
            "file", all lie in model.safetensors.

    Raises:
        PlanError: a dtype that safetensors does not have.
    """
    folder = place / model.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        files.setdefault(str(tensor.get("file", "model.safetensors")), {})[name] = tensor
    is_sharded = list(files) != ["model.safetensors"]
    for path in model.absolute().iterdir():
        is_index = path.name.endswith(".index.json")
        if path.suffix not in _WEIGHTS and (is_sharded or not is_index):
            (folder / path.name).symlink_to(path)
    for file, entries in files.items():
        _write_hollow(folder / file, entries)
    return folder


def _write_hollow(path: Path, tensors: Mapping[str, Mapping[str, Any]]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        if tensor["dtype"] not in _WIDTHS:
            raise PlanError(
                f"The tensor {name} has the type {tensor['dtype']}, which cannot be converted.",
                "Give the model in bfloat16, float16 or float32.",
            )
        start, end = end, end + prod(tensor["shape"]) * _WIDTHS[tensor["dtype"]]
        header[name] = {"dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
