"""A method's parameters as configs write them: a value, a gradient over the layers, values by filter.

Source: mergekit 0.1.5, config.py (ParameterSetting, evaluate_setting), parameter_resolver.py.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmcourse.merge.recipe import Parameters

_KINDS = {float: "number", int: "whole number", bool: "true or false"}


def problem_of(value: Any, kind: type | None) -> tuple[str, str] | None:
    """What is wrong with how a parameter is written, and what to write; None where nothing is.

    `kind` is None for one that the method does not know: mergekit wants the form to be right even so.
    """
    if _has_filters(value) and not all(isinstance(item, Mapping) for item in value):
        return "mixes values with filters", "Write {value: …} for what has no filter"
    for entry in value if _has_filters(value) else [value]:
        if isinstance(entry, Mapping):
            if "value" not in entry or set(entry) - {"value", "filter"}:
                return "has a filter without a value", "Write {filter: part of a name, value: …}"
            if not isinstance(entry.get("filter"), str | None):
                return f"has the filter {entry['filter']!r}, which is no text", "Write a part of a name"
            entry = entry["value"]
        for scalar in entry if isinstance(entry, list) else [entry]:
            problem = _scalar_problem(scalar, kind)
            if problem:
                return problem
    return None


def _scalar_problem(scalar: Any, kind: type | None) -> tuple[str, str] | None:
    noun = _KINDS[kind] if kind else "value"
    if not isinstance(scalar, bool | int | float | str):
        fix = f"Write a {noun}, a list of them as a gradient, or a list of {{filter: …, value: …}}"
        return f"holds {scalar!r} where one {noun} belongs", fix
    number = scalar if kind is None else validated(scalar, kind)
    if number is None:
        return f"is {scalar!r}, which is no {noun}", f"Write a {noun}, or a list of them as a gradient"
    if isinstance(number, float) and not math.isfinite(number):
        return f"is {scalar!r}, which is no finite number", "Write a finite number"
    return None


def _has_filters(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def validated(value: Any, kind: type) -> Any:
    """The value as mergekit takes it (pydantic reads "0.5" as a number); None where it refuses it."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return None


def numbers(value: Any, kind: type) -> Iterator[Any]:
    """Every single value in a setting whose form is right."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, Mapping):
            yield from numbers(entry["value"], kind)
        else:
            yield validated(entry, kind)


def evaluated(sources: Iterable[Parameters], key: str, tensor: str, t: float, kind: type) -> Any:
    """The value for one tensor, t from 0 in the first layer to 1 in the last; None where none is given.

    `sources` are the settings that apply, strongest first.

    Raises:
        ValueError: between two whole numbers of a gradient there is none for this layer.
    """
    for settings in sources:
        if key in settings:
            value = _evaluated(settings[key], tensor, t, kind)
            if value is not None:
                return value
    return None


def _evaluated(setting: Any, tensor: str, t: float, kind: type) -> Any:
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return validated(setting, kind)
    if _has_filters(setting):
        for entry in setting:
            wanted = entry.get("filter")
            if wanted in (None, "*") or wanted in tensor:
                return _evaluated(entry["value"], tensor, t, kind)
        return None
    if not setting:
        return None
    values = [validated(item, kind) for item in setting]
    if kind is bool:
        return values[int(t * (len(values) - 1))]
    place = t * (len(values) - 1)
    low = int(place)
    high = min(len(values) - 1, low + 1)
    mixed = (1 - (place - low)) * values[low] + (place - low) * values[high]
    if kind is int and mixed != int(mixed):
        raise ValueError(f"{mixed:g} in a layer between {values[low]} and {values[high]}")
    return kind(mixed)
