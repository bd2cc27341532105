"""mergekit's definitions of architectures, read as the data they are, without importing it.

They decide whether a merge takes every tensor of its models over under the name it has.  Where they do not,
or where mergekit has no definition and infers one, its planner has to be asked (`accounting`).

Source: mergekit 0.1.5, _data/architectures and architecture/json_definitions.py.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmcourse.core.model import ModelFacts
from llmcourse.merge.layers import Models, facts_of, layer_count
from llmcourse.merge.recipe import Recipe
from llmcourse.merge.result_config import has_head

Definition = Mapping[str, Any]

# These have classes of their own, which take less or more than their definition says.
_CLASSES = ("Glm4MoeForCausalLM", "AfmoeForCausalLM")
# Masks, positions and frequencies that are computed again and not weights.
_BUFFERS = re.compile(r"(\.inv_freq|\.masked_bias|\.attn\.bias|attention\.bias|\.position_ids)$")


def is_buffer(name: str) -> bool:
    return _BUFFERS.search(name) is not None


def takes_all_as_named(recipe: Recipe, models: Models) -> bool:
    """Whether mergekit finds every weight of every model by name, and knows a place for each."""
    found = [facts_of(reference, models) for reference in recipe.references()]
    heads = {(has_head(dict.fromkeys(model.tensors, ())), _is_tied(model)) for model in found}
    if recipe.modules or len(heads) > 1 or any(ref.override_architecture for ref in recipe.references()):
        return False
    return all(_is_named(model) for model in found)


def _is_tied(model: ModelFacts) -> bool:
    return bool(model.config.get("tie_word_embeddings"))


def without_place(model: ModelFacts) -> set[str]:
    """Tensors for which mergekit's definition has no place; none where it infers one."""
    definition = _module_of(model)
    if definition is None:
        return set()
    count = layer_count(model)
    places = {name for names, _ in weights(definition, range(count), count) for name in names}
    return model.tensors.keys() - places


def _is_named(model: ModelFacts) -> bool:
    definition = _module_of(model)
    if definition is None:
        return False
    places: set[str] = set()
    count = layer_count(model)
    for names, is_optional in weights(definition, range(count), count):
        if not is_optional and not any(name in model.tensors for name in names):
            return False
        places.update(names)
    return all(name in places or is_buffer(name) for name in model.tensors)


def definition_of(model: ModelFacts) -> Definition | None:
    """As mergekit chooses it; None for an architecture that it infers or has a class for."""
    if model.architecture in _CLASSES:
        return None
    known = [item for item in definitions() if model.architecture in item["architectures"]]
    kind = model.config.get("model_type")
    return known[0] if len(known) == 1 else next((one for one in known if one["model_type"] == kind), None)


def _module_of(model: ModelFacts) -> Definition | None:
    """The definition of a model that is one module."""
    definition = definition_of(model)
    return definition if definition and "layer_templates" in definition else None


@lru_cache
def definitions() -> tuple[Definition, ...]:
    """All of them; none where mergekit is not installed."""
    spec = find_spec("mergekit")
    places = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(places))) / "_data" / "architectures" if places else None
    if folder is None or not folder.is_dir():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))


def weights(definition: Definition, layers: range, count: int) -> Iterator[tuple[list[str], bool]]:
    """Every weight of these of `count` layers: the names it may have, and whether it may be absent."""
    for item in (*definition["pre_weights"], *definition["post_weights"]):
        yield _names(item, {"num_layers": count}), bool(item.get("optional"))
    for layer in layers:
        for item in definition["layer_templates"]["weights"]:
            yield _names(item, {"layer_index": layer, "num_layers": count}), bool(item.get("optional"))


def _names(item: Mapping[str, Any], values: Mapping[str, int]) -> list[str]:
    written = [item["name"], *(item.get("aliases") or ()), *(item.get("tied_names") or ())]
    return [_filled(name, values) for name in written]


def _filled(template: str, values: Mapping[str, int]) -> str:
    def number(match: re.Match[str]) -> str:
        return str(values[match[1]] + int(match[2] or 0))

    return re.sub(r"\$\{(layer_index|num_layers)([+-]1)?\}", number, template)
