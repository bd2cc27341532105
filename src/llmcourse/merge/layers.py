"""Layers: how many a model has, which of them a slice takes, how tensors of two ranges pair up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llmcourse.core.model import ModelFacts
from llmcourse.merge.recipe import OutputSlice, Recipe, Reference

# The first number between dots is the layer, as in mergekit 0.1.5, architecture/auto.py.
LAYER = re.compile(r"\.(\d+)\.")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

Models = Mapping[str, ModelFacts]


@dataclass(frozen=True)
class Member:
    """One model inside a slice: which of its layers, and its facts."""

    name: str
    facts: ModelFacts
    start: int
    end: int


def facts_of(reference: Reference, models: Models) -> ModelFacts:
    """Facts of the weights that a reference means; a LoRA does not change their shapes."""
    return models[reference.model]


def layer_count(facts: ModelFacts) -> int:
    inner = facts.config.get("text_config")
    config = inner if isinstance(inner, dict) else facts.config
    for key in LAYER_KEYS:
        if isinstance(config.get(key), int):
            return int(config[key])
    return 1 + max((int(match[1]) for name in facts.tensors if (match := LAYER.search(name))), default=-1)


def members(recipe: Recipe, models: Models) -> list[list[Member]]:
    """The slices of a document, whole models being one slice."""
    if recipe.output_slices():
        return [_slice_members(part, models) for part in recipe.output_slices()]
    references = [entry.model for entry in recipe.input_models()]
    if recipe.base_model and recipe.base_model not in references:
        references.append(recipe.base_model)
    found = []
    for reference in dict.fromkeys(references):
        facts = facts_of(reference, models)
        found.append(Member(str(reference), facts, 0, layer_count(facts)))
    return [found]


def _slice_members(part: OutputSlice, models: Models) -> list[Member]:
    return [
        Member(str(source.model), facts_of(source.model, models), *source.layer_range)
        for source in part.sources
    ]


def with_layer(name: str, layer: int) -> str:
    return LAYER.sub(f".{layer}.", name, count=1)
