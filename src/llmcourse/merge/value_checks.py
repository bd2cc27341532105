"""What parameters are in every single tensor, gradients and filters computed as mergekit does."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from llmcourse.core.plan import Check, mistake, warn
from llmcourse.merge.architectures import without_place
from llmcourse.merge.groups import Group, groups
from llmcourse.merge.layers import LAYER, Models, facts_of, layer_count
from llmcourse.merge.methods import METHODS, Method
from llmcourse.merge.recipe import Recipe, Reference
from llmcourse.merge.settings import evaluated

_DEFAULTS = {"density": 1.0, "epsilon": 0.15, "normalize": True, "normalize_weights": True}


@dataclass(frozen=True)
class _Place:
    """A tensor by its name in the group's first model; t is 0 in the first layer and 1 in the last.

    `row` is how many numbers the method ranks against each other; None where the tensor is not merged.
    """

    tensor: str
    t: float
    row: int | None = None


def value_checks(recipe: Recipe, models: Models) -> Iterator[Check]:
    """The first tensor of each group whose values stop the merge or spoil the result."""
    method = METHODS[recipe.merge_method]
    for group in groups(recipe):
        places = list(_places(recipe, group, models))
        yield from dict.fromkeys(_parameter_checks(recipe.merge_method, method, group, places))
        yield from dict.fromkeys(_sense_checks(recipe.merge_method, method, group, places))


def _places(recipe: Recipe, group: Group, models: Models) -> Iterator[_Place]:
    """The tensors of the group's first model; without names (pickled weights) the ends of gradients."""
    facts = facts_of(group.models[0], models)
    ranges = {source.model: source.layer_range for part in recipe.slices or [] for source in part.sources}
    is_sliced = group.label.startswith("slices[")
    start, end = ranges[group.models[0]] if is_sliced else (0, layer_count(facts))
    left_out = without_place(facts)
    for name, tensor in facts.tensors.items():
        match = LAYER.search(name)
        row = None if name in left_out else tensor.shape[1] if len(tensor.shape) > 1 else prod(tensor.shape)
        if match is None:
            yield _Place(name, 0, row)
        elif start <= int(match[1]) < end:
            yield _Place(name, (int(match[1]) - start) / (end - start - 1) if end - start > 1 else 1, row)
    if not facts.tensors:
        yield from (_Place("", 0), _Place("", 1))


def _parameter_checks(name: str, method: Method, group: Group, places: list[_Place]) -> Iterator[Check]:
    """Values that are not there for some tensor, or that are none of the parameter's kind in some layer."""
    for key, parameter in method.parameters.items():
        owners: list[Reference | None] = [None]
        if parameter.scope != "shared":
            owners = [m for m in group.models if parameter.scope == "input" or m != group.base]
        for owner in owners:
            for place in places:
                try:
                    value = evaluated(group.settings(owner), key, place.tensor, place.t, parameter.kind)
                except ValueError as error:
                    yield mistake("parameters", f"{key} is {error}, and is to be a whole number in each.",
                                  "Write one value, or a gradient of whole numbers that fits.")  # fmt: skip
                    break
                if value is None and parameter.is_required and place.tensor:
                    who = f" for {owner}" if owner else ""
                    yield mistake(
                        "parameters",
                        f"{name} needs {key}{who}, and none of its filters names {place.tensor}.",
                        "End its list with an entry that has a value and no filter.",
                    )
                    break


def _sense_checks(name: str, method: Method, group: Group, places: list[_Place]) -> Iterator[Check]:
    for test in (_density_problem, _row_problem, _sum_problem):
        problems = [(place, found) for place in places if (found := test(name, method, group, place))]
        if problems:
            place, (what, fix) = problems[0]
            where = "" if len(problems) == len(places) else f" in {place.tensor or 'some layer'}"
            yield mistake("parameters", f"{what[0]}{where}{what[1]}", fix)


def _value(group: Group, model: Reference | None, key: str, place: _Place) -> float:
    found = evaluated(group.settings(model), key, place.tensor, place.t, float)
    return float(_DEFAULTS.get(key, 0.0) if found is None else found)


# What is wrong, in two parts between which the tensor is named, and what to do.
_Problem = tuple[tuple[str, str], str] | None


def _density_problem(name: str, _: Method, group: Group, place: _Place) -> _Problem:
    """DELLA keeps with probabilities of density ± epsilon (Deep et al., 2024, arXiv 2406.11617)."""
    if not name.startswith("della"):
        return None
    for model in group.models:
        density, epsilon = _value(group, model, "density", place), _value(group, model, "epsilon", place)
        if model != group.base and 0 < density < 1 and not epsilon < density < 1 - epsilon:
            what = f"{name} needs density ± epsilon inside 0 to 1; {model} has {density:.4g} ± {epsilon:.4g}"
            return (what, "."), "Lower epsilon, or move density to the middle."
    return None


def _row_problem(name: str, _: Method, group: Group, place: _Place) -> _Problem:
    """DELLA ranks the numbers of a row, and of one number mergekit 0.1.5 gets 0/0 (sparsify.py)."""
    if not name.startswith("della") or place.row != 1:
        return None
    for model in group.models:
        if model != group.base and 0 < _value(group, model, "density", place) < 1:
            part = place.tensor.removesuffix(".weight").rpartition(".")[2]
            what = f"{name} ranks the numbers of each row, and there is one only"
            other = name.replace("della_linear", "dare_linear").replace("della", "dare_ties")
            return (
                what,
                ".",
            ), f"Write density: [{{filter: {part}, value: 1}}, {{value: …}}], or use {other}."
    return None


def _sum_problem(name: str, _: Method, group: Group, place: _Place) -> _Problem:
    """Weights whose sum a method divides by."""
    models = [model for model in group.models if name == "linear" or model != group.base]
    key = {"linear": "normalize", "multislerp": "normalize_weights"}.get(name)
    if key is None or not _value(group, None, key, place) or (name == "multislerp" and len(models) < 2):
        return None
    if abs(sum(_value(group, model, "weight", place) for model in models)) > 1e-9:
        return None
    what = ("The weights sum to zero", f", and {key} divides by that.")
    return what, f"Change a weight, or set {key}: false."


def density_warnings(method: Method, group: Group) -> Iterator[Check]:
    """Densities outside 0 to 1, which mergekit takes silently."""
    if "density" not in method.parameters:
        return
    for model in (model for model in group.models if model != group.base):
        for place in (_Place("", 0), _Place("", 1)):
            density = _value(group, model, "density", place)
            if not 0 <= density <= 1:
                what = f"The density {density:g} of {model} is outside 0 to 1; mergekit takes it as "
                yield warn("parameters", f"{what}{'1' if density > 1 else '0'}.")
                break
