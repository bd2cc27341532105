"""What a merged tensor will be, from the headers of the inputs: to plan the files before they are written."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mergekit.common import dtype_from_name
from mergekit.io.tasks import GatherTensors, LoaderCache, SaveTensor

from llmcourse.merge.shards import DTYPES, PlannedTensor


def planned_tensor(task: SaveTensor, dtype: str | None) -> PlannedTensor:
    """Shape and dtype of the tensor that `task` will save; empty where no input says it (converted ones)."""
    wanted = dtype_from_name(task.dtype or dtype)
    for model, weight in _gather(task).weight_info.items():
        index = LoaderCache().get(model).index
        for name in (weight.name, *(weight.aliases or ()), *(weight.tied_names or ())):
            if name in index.tensor_paths:
                stored, shape = _tensors(str(Path(index.base_path) / index.tensor_paths[name]))[name]
                return PlannedTensor(task.tensor_name, DTYPES[wanted] if wanted else stored, shape)
    return PlannedTensor(task.tensor_name, "U8", (0,))


def _gather(task: SaveTensor) -> GatherTensors:
    """The loading end of a save task's chain: merge method, then perhaps a vocabulary step."""
    inner: Any = task.tensor_task
    while not isinstance(inner, GatherTensors):
        inner = inner.gather_tensors
    return inner


@lru_cache
def _tensors(path: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """dtype (safetensors' name) and shape of each tensor in a weight file."""
    if path.endswith(".safetensors"):
        with Path(path).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {
            name: (entry["dtype"], tuple(entry["shape"]))
            for name, entry in header.items()
            if "shape" in entry
        }
    tensors = torch.load(path, map_location="meta", weights_only=True)
    return {name: (DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}
