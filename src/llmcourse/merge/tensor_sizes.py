"""What a merged tensor is made of and will be, from the headers of the inputs, before any weight is read."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from mergekit.architecture import WeightInfo
from mergekit.architecture.conversion import convert_checkpoint_tensors
from mergekit.common import ModelReference, dtype_from_name
from mergekit.io.tasks import GatherTensors, LoaderCache, SaveTensor

from llmcourse.merge.layers import LAYER
from llmcourse.merge.shards import DTYPES, PlannedTensor, Split

_BY_NAME = {name: dtype for dtype, name in DTYPES.items()}


@dataclass(frozen=True)
class Source:
    """What a model gives to a merged tensor: `names` of its own tensors; dtype as safetensors calls it."""

    model: ModelReference
    names: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]


def planned_tensor(task: SaveTensor, dtype: str | None, split: Split) -> PlannedTensor:
    """What `task` will save, with what `split` makes of it; empty where no input says its shape."""
    wanted = dtype_from_name(task.dtype or dtype)
    source = next(sources(task), None)
    if source is None:
        return PlannedTensor(task.tensor_name, "U8", (0,))
    planned = PlannedTensor(task.tensor_name, DTYPES[wanted] if wanted else source.dtype, source.shape)
    parts = split(planned.name, torch.empty(planned.shape, dtype=_BY_NAME[planned.dtype], device="meta"))
    found = (PlannedTensor(name, planned.dtype, tuple(part.shape)) for name, part in parts.items())
    return replace(planned, parts=tuple(found))


def sources(task: SaveTensor) -> Iterator[Source]:
    """What each model gives to the tensor that `task` saves; models that give nothing are left out."""
    for model, weight in gathered(task).items():
        found = _direct(model, weight) or converted_source(model, weight)
        if found:
            yield found


def gathered(task: SaveTensor) -> Mapping[ModelReference, WeightInfo]:
    """The models that a task asks for a weight, and what it is in each."""
    inner: Any = task.tensor_task
    while not isinstance(inner, GatherTensors):  # merge method, then perhaps a vocabulary step
        inner = inner.gather_tensors
    return dict(inner.weight_info.items())


def _direct(model: ModelReference, weight: WeightInfo) -> Source | None:
    index = LoaderCache().get(model).index
    for name in (weight.name, *(weight.aliases or ()), *(weight.tied_names or ())):
        if name in index.tensor_paths:
            dtype, shape = _header(index, name)
            return Source(model, (name,), dtype, shape)
    return None


def converted_source(model: ModelReference, weight: WeightInfo) -> Source | None:
    """What mergekit makes of a checkpoint's tensors by transformers' rules, done on tensors without data.

    None where it makes nothing of the kind, or where the checkpoint has the weight under its own name.
    """
    index = LoaderCache().get(model).index
    if weight.name in index.tensor_paths:
        return None
    layer = LAYER.search(weight.name)
    same_layer = [name for name in index.tensor_paths if _layer_of(name) == (layer and layer[1])]
    used: list[str] = []

    def load(name: str) -> torch.Tensor:
        used.append(name)
        dtype, shape = _header(index, name)
        return torch.empty(shape, dtype=_BY_NAME[dtype], device="meta")

    lazy: dict[str, Callable[[], torch.Tensor]] = {name: partial(load, name) for name in same_layer}
    model_type = model.config(trust_remote_code=LoaderCache().trust_remote_code).model_type
    for target in (weight.name, *(weight.aliases or ())):
        tensor = convert_checkpoint_tensors(model_type, lazy, target)
        if tensor is not None:
            return Source(model, tuple(used), DTYPES[tensor.dtype], tuple(tensor.shape))
    return None


def _layer_of(name: str) -> str | None:
    found = LAYER.search(name)
    return found[1] if found else None


def forget_headers() -> None:
    """Read files anew that may have been written under a name that was read before."""
    _tensors.cache_clear()


def _header(index: Any, name: str) -> tuple[str, tuple[int, ...]]:
    return _tensors(str(Path(index.base_path) / index.tensor_paths[name]))[name]


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
