"""How large a merged tensor will be, from the headers of the inputs; only used to plan the files."""

import json
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import torch
from mergekit.common import dtype_from_name
from mergekit.io.tasks import GatherTensors, LoaderCache, SaveTensor


def planned_bytes(task: SaveTensor, dtype: str | None) -> int:
    """Bytes of the tensor that `task` will save; 0 where no input says it (a converted tensor)."""
    gather = _gather(task)
    wanted = dtype_from_name(task.dtype or dtype)
    for model, weight in gather.weight_info.items():
        index = LoaderCache().get(model).index
        for name in (weight.name, *(weight.aliases or ()), *(weight.tied_names or ())):
            if name in index.tensor_paths:
                shape, width = _shapes(str(Path(index.base_path) / index.tensor_paths[name]))[name]
                return prod(shape) * int(wanted.itemsize if wanted else width)
    return 0


def _gather(task: SaveTensor) -> GatherTensors:
    """The loading end of a save task's chain: merge method, then perhaps a vocabulary step."""
    inner: Any = task.tensor_task
    while not isinstance(inner, GatherTensors):
        inner = inner.gather_tensors
    return inner


@lru_cache
def _shapes(path: str) -> dict[str, tuple[tuple[int, ...], int]]:
    """Shape and bytes per element of each tensor in a weight file."""
    if path.endswith(".safetensors"):
        with Path(path).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {
            name: (tuple(entry["shape"]), _width(entry)) for name, entry in header.items() if "shape" in entry
        }
    tensors = torch.load(path, map_location="meta", weights_only=True)
    return {name: (tuple(tensor.shape), tensor.element_size()) for name, tensor in tensors.items()}


def _width(entry: dict[str, Any]) -> int:
    start, end = entry["data_offsets"]
    count: int = prod(entry["shape"])
    return int(end - start) // max(1, count)
