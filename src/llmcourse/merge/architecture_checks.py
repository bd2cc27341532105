"""Which tensors mergekit needs of an architecture, by the JSON files that it brings; none of it is imported.

Source: mergekit 0.1.5, architecture/json_definitions.py, io/tasks.py (LoadTensor), plan.py.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail, mistake
from llmcourse.merge.layers import Models, facts_of, members
from llmcourse.merge.recipe import Recipe

_KEY = "mergekit's architectures"
# transformers leaves these buffers out when it saves a model, as it does after a LoRA was merged into it.
_BUFFERS = (".attention.bias", ".masked_bias", ".inv_freq")

Definition = Mapping[str, Any]


def present() -> dict[str, str]:
    """For Facts.present: the definitions by the name of their architecture, where mergekit is installed."""
    spec = find_spec("mergekit")
    if spec is None or not spec.submodule_search_locations:
        return {}
    found: dict[str, list[Definition]] = {}
    for path in sorted(Path(spec.submodule_search_locations[0], "_data", "architectures").glob("*.json")):
        definition = json.loads(path.read_text(encoding="utf-8"))
        for name in definition["architectures"]:
            found.setdefault(name, []).append(definition)
    return {_KEY: json.dumps(found)}


def architecture_checks(recipe: Recipe, models: Models, present: Mapping[str, str]) -> Iterator[Check]:
    """Modules that the architecture has not, and tensors that it needs and a model has not."""
    known = json.loads(present.get(_KEY, "{}"))
    definitions = {ref: _definition(facts_of(ref, models), known) for ref in recipe.references()}
    first = definitions[recipe.references()[0]]
    if all(definitions.values()) and first is not None:
        yield from _module_checks(recipe, list(first.get("modules", {"default": first})))
    adapted = {ref.model for ref in recipe.references() if ref.lora}
    for group in members(recipe, models):
        for member in group:
            definition = _definition(member.facts, known)
            if definition is None or not member.facts.tensors or not _is_plain(definition):
                continue
            name = member.name.partition("+")[0]
            needed = [names for names in _needed(definition, range(member.start, member.end)) if names]
            lacking = next((each for each in needed if not set(each) & member.facts.tensors.keys()), None)
            lost = next((each for each in needed if each[0].endswith(_BUFFERS)), None)
            if lacking:
                yield fail(
                    member.name,
                    f"{name} has no {lacking[0]}, which mergekit wants of a {member.facts.architecture}.",
                    "Give a model whose files hold it; transformers leaves buffers out when it saves one."
                    if lacking[0].endswith(_BUFFERS)
                    else "Get the model's files anew, or give another one.",
                )
            elif lost and name in adapted:
                yield fail(
                    member.name,
                    f"{lost[0]} of {name} is lost when a LoRA is merged into it, and mergekit needs it.",
                    f"mergekit takes no LoRA on {member.facts.architecture} models: merge whole models.",
                )


def _definition(facts: ModelFacts, known: Mapping[str, list[Definition]]) -> Definition | None:
    """As mergekit chooses it; None for an architecture that it infers, of which no tensor is required."""
    candidates = known.get(facts.architecture, [])
    if len(candidates) == 1:
        return candidates[0]
    kind = facts.config.get("model_type")
    return next((each for each in candidates if each["model_type"] == kind), None)


def _is_plain(definition: Definition) -> bool:
    """Whether checkpoints have one layout; those with experts or several modules are converted by name."""
    templates = definition.get("layer_templates", {"weights": []})["weights"]
    return "modules" not in definition and not any(".experts" in weight["name"] for weight in templates)


def _module_checks(recipe: Recipe, names: list[str]) -> Iterator[Check]:
    for name in recipe.modules or {}:
        if name not in names:
            yield mistake("modules", f"These models have no module {name!r}.", f"Use {', '.join(names)}.")
    if recipe.slices and len(names) > 1:
        yield mistake(
            "slices",
            f"These models have several modules ({', '.join(names)}), and slices are of one.",
            "Write modules: {NAME: {slices: …}}.",
        )
    missing = [name for name in names if recipe.modules and name not in recipe.modules]
    if missing:
        yield mistake("modules", f"The module {missing[0]} is not written, so the result would lack it.",
                      f"Write all of {', '.join(names)}.")  # fmt: skip


def _needed(definition: Definition, layers: range) -> Iterator[tuple[str, ...]]:
    """Each required tensor with the other names that it may have."""
    for weight in (*definition["pre_weights"], *definition["post_weights"]):
        if not weight.get("optional"):
            yield _names(weight, 0)
    for layer in layers:
        for weight in definition["layer_templates"]["weights"]:
            if not weight.get("optional"):
                yield _names(weight, layer)


def _names(weight: Definition, layer: int) -> tuple[str, ...]:
    names = (weight["name"], *(weight.get("aliases") or ()), *(weight.get("tied_names") or ()))
    names = tuple(name.replace("${layer_index}", str(layer)) for name in names)
    return () if any("${" in name for name in names) else names
