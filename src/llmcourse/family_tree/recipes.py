"""What a mergekit recipe says of its parents: which, by which method, with what weight, and so what share.

A recipe is somebody else's text, so it is read leniently: what cannot be read tells nothing.  Keys are
mergekit's (mergekit 0.1.5, config.py and moe/config.py).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from llmcourse.core.documents import YAML_ERRORS, parse
from llmcourse.core.errors import ConfigError

# In the order in which they are looked for.
RECIPE_NAMES = (
    "mergekit_config.yml", "mergekit_config.yaml", "merge.yml", "merge.yaml", "mergekit_moe_config.yml",
)  # fmt: skip
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE)
_MAX_TEXT = 400_000
_MAX_RECIPES = 20
_FEW_ALIASES = 16
_SHORT = 8000
# Methods that add weighted differences to a base, and whether they by default scale weights to a sum of 1.
_DELTAS = {
    "task_arithmetic": False, "ties": True, "dare_ties": False, "dare_linear": False, "breadcrumbs": False,
    "breadcrumbs_ties": False, "della": True, "della_linear": False,
}  # fmt: skip
_WEIGHTED = {"linear", "multislerp", "nuslerp"}


@dataclass(frozen=True)
class Ingredient:
    """A parent. `weight` as the recipe says it; `share` of the result's weights, 0 to 1, None if not told."""

    model: str
    method: str | None = None
    weight: float | None = None
    share: float | None = None
    is_base: bool = False  # named as the base and not as one of those that are merged


@dataclass(frozen=True)
class _Source:
    model: str
    parameters: Mapping[str, Any]
    layers: int | None = None


def recipe_of(text: str) -> tuple[Ingredient, ...]:
    """The parents in a recipe's text, stages resolved to what they were made of; empty if it is none."""
    if len(text) > _MAX_TEXT:
        return ()
    try:
        return _parents_in(_documents(text))
    except (ConfigError, *YAML_ERRORS):
        return ()  # a number with hundreds of digits, an alias that holds itself


def _parents_in(documents: list[Any]) -> tuple[Ingredient, ...]:
    stages: dict[str, tuple[Ingredient, ...]] = {}
    last: tuple[Ingredient, ...] = ()
    for document in documents:
        if not _is_recipe(document):
            continue
        found = _joined(_resolved(_ingredients(document), stages))
        if isinstance(document.get("name"), str):
            stages[document["name"]] = found
        last = found
    return last


def _documents(text: str) -> list[Any]:
    """The values of a YAML text, by the fast reader where no alias blows them up and no depth its stack."""
    if text.count("*") > _FEW_ALIASES or len(text) > _SHORT:
        return [document.data for document in parse(text, "recipe")]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(islice(yaml.load_all(text, Loader=loader), _MAX_RECIPES))


def recipe_in_card(text: str) -> tuple[Ingredient, ...]:
    """The last recipe in a card's fenced blocks: cards of several stages show the final one last."""
    found: tuple[Ingredient, ...] = ()
    for number, block in enumerate(_FENCE.finditer(text[:_MAX_TEXT])):
        if number == _MAX_RECIPES:
            break
        found = recipe_of(block[2].replace("\N{NO-BREAK SPACE}", " ")) or found
    return found


def _is_recipe(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    is_moe = isinstance(document.get("experts"), list)
    return is_moe or any(
        isinstance(document.get(key), list | dict) for key in ("models", "slices", "modules")
    )


def _ingredients(document: Mapping[str, Any]) -> Iterator[Ingredient]:
    base = _reference(document.get("base_model"))
    if isinstance(document.get("experts"), list):
        yield from _of_experts(document["experts"], base)
        return
    if isinstance(document.get("modules"), dict):
        for part in document["modules"].values():
            if isinstance(part, dict):
                # How much of the model each module is cannot be seen here.
                yield from (
                    _without_share(found) for found in _ingredients({**document, "modules": None, **part})
                )
        return
    method = document.get("merge_method")
    if not isinstance(method, str):
        method = None
    parameters = _mapping(document.get("parameters"))
    if isinstance(document.get("slices"), list):
        yield from _of_slices(document["slices"], method, base, parameters)
        return
    sources = list(_sources(document.get("models")))
    yield from _blend(sources, method, base, parameters)


def _of_experts(experts: list[Any], base: str | None) -> Iterator[Ingredient]:
    if base:
        yield Ingredient(base, "moe", is_base=True)
    for expert in experts:
        model = _reference(_mapping(expert).get("source_model"))
        if model:
            yield Ingredient(model, "moe")


def _of_slices(
    slices: list[Any], method: str | None, base: str | None, parameters: Mapping[str, Any]
) -> Iterator[Ingredient]:
    """Each slice counts by its layers; where one does not say how many, no share is told."""
    parts = [(list(_sources(_mapping(part).get("sources"))), _mapping(part)) for part in slices]
    layers = [next((source.layers for source in sources if source.layers), None) for sources, _ in parts]
    total = sum(count or 0 for count in layers)
    for (sources, part), count in zip(parts, layers, strict=True):
        own = {**parameters, **_mapping(part.get("parameters"))}
        for found in _blend(sources, method, base, own):
            if None in layers or total == 0:
                yield _without_share(found)
            else:
                yield _scaled(found, (count or 0) / total)


def _blend(
    sources: list[_Source], method: str | None, base: str | None, parameters: Mapping[str, Any]
) -> Iterator[Ingredient]:
    """One blend of whole models or of a slice of each."""
    names = [source.model for source in sources]
    if base and base not in names and method != "passthrough":  # which takes nothing from it
        sources = [_Source(base, {}), *sources]
    weights = [_number({**parameters, **source.parameters}.get("weight")) for source in sources]
    shares = _shares(sources, weights, method, base, parameters)
    for source, weight, share in zip(sources, weights, shares, strict=True):
        is_base = source.model == base and base not in names
        yield Ingredient(source.model, method, None if is_base else weight, share, is_base)


def _shares(
    sources: list[_Source],
    weights: list[float | None],
    method: str | None,
    base: str | None,
    parameters: Mapping[str, Any],
) -> list[float | None]:
    """The share of each source; gradients count by their mean, filters alike: recipes tell no sizes."""
    unknown: list[float | None] = [None] * len(sources)
    if len(sources) == 1:
        return [1.0]
    if method == "passthrough" or not method:
        return unknown
    if method == "slerp":
        t = _number(parameters.get("t"))
        if t is None or len(sources) != 2 or not 0 <= t <= 1:
            return unknown
        first = base or sources[0].model
        return [1 - t if source.model == first else t for source in sources]
    if method in _WEIGHTED:
        merged = [index for index, weight in enumerate(weights) if weight is not None]
        total = sum(weights[index] or 0 for index in merged)
        others = [source for source, weight in zip(sources, weights, strict=True) if weight is None]
        if total <= 0 or any((weights[i] or 0) < 0 for i in merged) or any(o.model != base for o in others):
            return unknown
        return [(weight or 0) / total for weight in weights]
    if method in _DELTAS and base and _number(parameters.get("lambda", 1)) == 1:
        return _delta_shares(sources, weights, base, parameters.get("normalize", _DELTAS[method]) is True)
    return unknown


def _delta_shares(
    sources: list[_Source], weights: list[float | None], base: str, is_normalized: bool
) -> list[float | None]:
    """base + Σ w (model - base) is (1 - Σ w) base + Σ w model; what is trimmed away is not considered."""
    added = {
        index: weight
        for index, (source, weight) in enumerate(zip(sources, weights, strict=True))
        if source.model != base
    }
    if not added or any(weight is None or weight < 0 for weight in added.values()):
        return [None] * len(sources)
    total = sum(weight or 0 for weight in added.values())
    if total <= 0 or (total > 1 and not is_normalized):  # then the base counts less than nothing
        return [None] * len(sources)
    scale = total if is_normalized else 1.0
    rest = 1 - total / scale
    return [rest if index not in added else (added[index] or 0) / scale for index in range(len(sources))]


def _sources(entries: Any) -> Iterator[_Source]:
    for entry in entries if isinstance(entries, list) else []:
        data = _mapping(entry)
        model = _reference(data.get("model"))
        if model is None:
            continue
        span = data.get("layer_range")
        layers = None
        if isinstance(span, list) and len(span) == 2 and all(isinstance(end, int) for end in span):
            layers = max(0, span[1] - span[0]) or None
        yield _Source(model, _mapping(data.get("parameters")), layers)


def _reference(value: Any) -> str | None:
    """A model as mergekit writes it: text, or its parts; a LoRA stands behind a plus."""
    if isinstance(value, dict):
        value = _mapping(value.get("model")).get("path") or value.get("path") or value.get("model")
    return value.strip() or None if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """A parameter as one number: a gradient's mean over the layers, the mean over filters."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return _number(value.get("value"))
    if not isinstance(value, list) or not value:
        return None
    numbers = [_number(item) for item in value]
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers):
        return None
    if any(isinstance(item, dict) for item in value) or len(known) == 1:
        return sum(known) / len(known)
    # A gradient is interpolated between its points, which lie evenly over the layers.
    return (sum(known) - (known[0] + known[-1]) / 2) / (len(known) - 1)


def _resolved(
    found: Iterator[Ingredient], stages: Mapping[str, tuple[Ingredient, ...]]
) -> Iterator[Ingredient]:
    """The parents of an earlier stage in its place, each with its part of the stage's share."""
    for part in found:
        if part.model in stages:
            for inner in stages[part.model]:
                yield _scaled(inner, part.share) if part.share is not None else _without_share(inner)
        else:
            yield part


def _joined(found: Iterator[Ingredient]) -> tuple[Ingredient, ...]:
    """One entry a model: shares add up; a weight that differs from slice to slice is none."""
    joined: dict[str, Ingredient] = {}
    for part in found:
        name, _, adapter = part.model.partition("+")
        for model in filter(None, (name, adapter)):
            new = Ingredient(
                model, part.method, part.weight, part.share if model == name else 0.0, part.is_base
            )
            old = joined.get(model)
            joined[model] = new if old is None else _sum(old, new)
    return tuple(joined.values())


def _sum(one: Ingredient, other: Ingredient) -> Ingredient:
    share = None if one.share is None or other.share is None else one.share + other.share
    weight = one.weight if one.weight == other.weight else None
    return Ingredient(one.model, one.method, weight, share, one.is_base and other.is_base)


def _scaled(part: Ingredient, factor: float) -> Ingredient:
    share = None if part.share is None else part.share * factor
    return Ingredient(part.model, part.method, part.weight, share, part.is_base)


def _without_share(part: Ingredient) -> Ingredient:
    return Ingredient(part.model, part.method, part.weight, None, part.is_base)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
