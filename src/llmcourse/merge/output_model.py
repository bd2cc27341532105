"""What a merge will make, known from headers alone: for the disk check and for the stages that use it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from llmcourse.merge.layers import LAYER, LAYER_KEYS, Models, facts_of, layer_count, members, with_layer
from llmcourse.merge.recipe import Moe, Recipe

_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def predicted_output(
    stage: Recipe | Moe, models: Models, written: Mapping[str, Sequence[int]] | None = None
) -> ModelFacts:
    """The facts of what a stage will make, so that later stages and the disk check can use them.

    `written` are the shapes of its tensors, where mergekit's planner was asked for them.
    """
    base = facts_of(stage.references()[0], models)
    tensors = _moe_tensors(stage, models) if isinstance(stage, Moe) else _merged_tensors(stage, models)
    if written:
        tensors = _accounted(written, tensors, [facts_of(ref, models) for ref in stage.references()])
    dtype = (stage.out_dtype if isinstance(stage, Recipe) else None) or stage.dtype
    if dtype:
        width = _BYTES.get(dtype.removeprefix("torch."), 2)
        tensors = {
            name: replace(tensor, nbytes=width * prod(tensor.shape)) for name, tensor in tensors.items()
        }
    config = dict(base.config)
    if isinstance(stage, Recipe) and stage.output_slices() and not stage.modules:
        key = next((key for key in LAYER_KEYS if key in config), "num_hidden_layers")
        config[key] = sum(part.sources[0].layer_range[1] - part.sources[0].layer_range[0]
                          for part in stage.output_slices())  # fmt: skip
    ref = ModelRef(stage.name or "result", is_local=True)
    size = sum(tensor.nbytes for tensor in tensors.values())
    files = {**base.files, "model.safetensors": size}
    return ModelFacts(ref, None, config, tensors, ("model.safetensors",), files, is_pickled=base.is_pickled)


def _merged_tensors(recipe: Recipe, models: Models) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    offset = 0
    for slice_members in members(recipe, models):
        first = slice_members[0]
        for name, tensor in first.facts.tensors.items():
            match = LAYER.search(name)
            if match is None:
                tensors.setdefault(name, tensor)
            elif first.start <= int(match[1]) < first.end:
                tensors[with_layer(name, int(match[1]) - first.start + offset)] = tensor
        offset += first.end - first.start
    return tensors


def _accounted(
    written: Mapping[str, Sequence[int]], guessed: Mapping[str, Tensor], models: list[ModelFacts]
) -> dict[str, Tensor]:
    """The planner's tensors, in the dtype of the first model that has one of the name, else of any."""
    usual = next(
        (tensor for model in models for tensor in model.tensors.values()), Tensor((1,), "BF16", 2, "")
    )
    tensors = {}
    for name, shape in written.items():
        found = (model.tensors[name] for model in models if name in model.tensors)
        like = guessed.get(name) or next(found, usual)
        size = prod(shape) * like.nbytes // max(1, prod(like.shape))
        tensors[name] = Tensor(tuple(shape), like.dtype, size, like.file)
    return tensors


def _moe_tensors(moe: Moe, models: Models) -> dict[str, Tensor]:
    """Attention and norms once, every expert's MLP, and a router per layer."""
    base = facts_of(moe.base_model, models)
    tensors = {name: tensor for name, tensor in base.tensors.items() if ".mlp." not in name}
    for index, expert in enumerate([*moe.experts, *(moe.shared_experts or [])]):
        for name, tensor in facts_of(expert.source_model, models).tensors.items():
            if ".mlp." in name:
                tensors[name.replace(".mlp.", f".mlp.experts.{index}.")] = tensor
    hidden = int(base.config.get("hidden_size", 0))
    for layer in range(layer_count(base)):
        shape = (len(moe.experts), hidden)
        tensors[f"model.layers.{layer}.mlp.gate.weight"] = Tensor(shape, "BF16", 2 * prod(shape), "")
    return tensors


def output_dtype(recipe: Recipe | Moe, models: Models) -> str:
    """dtype of the result, for people."""
    written = (recipe.out_dtype if isinstance(recipe, Recipe) else None) or recipe.dtype
    if written:
        return written.removeprefix("torch.")
    counted = Counter(tensor.dtype for tensor in facts_of(recipe.references()[0], models).tensors.values())
    return _NAMES.get(counted.most_common(1)[0][0], "as in the models") if counted else "as in the models"
