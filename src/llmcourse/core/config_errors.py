"""What pydantic says of a config, as sentences: which key, what is wrong with it, what to write instead."""

import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from llmcourse.core.documents import Document, Location
from llmcourse.core.errors import ConfigError

# What belongs there, and how it is written, by the beginning of pydantic's name of the error.
_WANTED = (
    ("string", "text", "Write text, in quotes where it looks like a number or a word of YAML."),
    ("int", "a whole number", "Write a whole number."),
    ("float", "a number", "Write a number."),
    ("finite_number", "a finite number", "Write a finite number."),
    ("bool", "true or false", "Write true or false."),
    ("list", "a list", "Write a list: [one, two], or lines that begin with a dash."),
    ("tuple", "a list", "Write a list: [one, two]."),
    ("dict", "a set of keys with values", "Write {key: value}, or indented lines of key: value."),
    ("model", "a set of keys with values", "Write {key: value}, or indented lines of key: value."),
    ("none_required", "nothing", "Leave it out."),
)
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_TOO_FEW_OR_MANY = {"too_short": ("min_length", "at least"), "too_long": ("max_length", "at most")}


def config_errors(error: ValidationError, document: Document, model: Any) -> list[ConfigError]:
    """One error for each place; of the forms that a value may have, the one that it comes nearest to."""
    items = [dict(item) for item in error.errors(include_url=False)]
    found = [_problem(item, document, model) for item in _nearest(items, document.data)]
    return list({(each.what, each.where): each for each in found}.values())


def _nearest(items: list[dict[str, Any]], data: Any) -> list[dict[str, Any]]:
    """Where a value may have several forms, pydantic tells of each why it is none: one of them is enough."""
    kept: dict[Any, dict[str, Any]] = {}
    places = [_real_location(item, data) for item in items]
    for index, item in enumerate(items):
        place = _real_location(item, data)
        others = [each for each in places if each[: len(place)] == place]
        is_of_a_form = len(item["loc"]) > len(place)
        if is_of_a_form and any(len(each) > len(place) for each in others):
            continue  # another form fits but for something inside it
        key = place if is_of_a_form else index
        if key not in kept or " | " in str(item["msg"]):
            kept[key] = item
    return list(kept.values())


def _problem(item: Mapping[str, Any], document: Document, model: Any) -> ConfigError:
    location = _real_location(item, document.data)
    dotted = ".".join(map(str, model.shown_location(location))) or "the config"
    where, kind, context = document.where(location), str(item["type"]), item.get("ctx", {})
    value = item["input"]
    if kind == "extra_forbidden":
        return unknown_key(str(item["loc"][-1]), sorted(_keys_at(model, item["loc"][:-1])), where)
    if kind == "missing":
        return ConfigError(f"{dotted} is missing.", f"Add the key {item['loc'][-1]!r}.", where)
    if kind in ("literal_error", "enum"):
        return ConfigError(f"{dotted} cannot be {_shown(value)}.", f"Use {context['expected']}.", where)
    if kind == "union_tag_invalid":
        what = f"{dotted} cannot be of the kind {context['tag']!r}."
        return ConfigError(what, f"Use {context['expected_tags']}.", where)
    if kind in _TOO_FEW_OR_MANY and isinstance(value, list | tuple | dict):
        key, bound = _TOO_FEW_OR_MANY[kind]
        held = f"holds {len(value)} items" if value else "is empty"
        return ConfigError(f"{dotted} {held}.", f"Write {bound} {_items(context[key])} there.", where)
    if kind in _BOUNDS and not (isinstance(value, float) and math.isnan(value)):
        key, bound = _BOUNDS[kind]
        return ConfigError(f"{dotted} is {_shown(value)}.", f"Write {bound} {context[key]}.", where)
    message = str(item["msg"]).removeprefix("Value error, ")
    what, _, fix = message.partition(" | ")
    if fix:
        return ConfigError(f"{what.rstrip('.')}.", fix, where)
    if kind == "string_pattern_mismatch":
        what = f"{dotted} is {_shown(value)}, which has characters or a form that it may not have."
        return ConfigError(what, f"Write what fits the expression {context['pattern']}.", where)
    for beginning, wanted, fix in _WANTED:
        if kind.startswith(beginning) and not kind.startswith(f"{beginning}_too"):
            what = f"{dotted} is {_shown(value)}, where {wanted} belongs."
            return ConfigError(what, _with_keys(fix, item, model), where)
    what = f"{dotted} is {_shown(value)}: {message[:1].lower()}{message[1:].rstrip('.')}."
    return ConfigError(what, "See the keys of configs in docs/reference/config.md for what it may be.", where)


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _shown(value: Any) -> str:
    """A value as it is read, short enough for a sentence."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a set of keys" if value else "{}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _with_keys(fix: str, item: Mapping[str, Any], model: Any) -> str:
    known = sorted(_keys_at(model, item["loc"])) if "{key" in fix else []
    return f"{fix.rstrip('.')}; known: {', '.join(known)}." if known else fix


def unknown_key(key: str, known: Sequence[str], where: str | None) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1)
    fix = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return ConfigError(f"{key!r} is not a known key.", fix, where)


def _real_location(item: Mapping[str, Any], data: Any) -> Location:
    """pydantic puts names of union members into a location; keep the parts that index the data."""
    location: Iterable[str | int] = item["loc"]
    real: list[str | int] = []
    part: Any
    for part in location:
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]
            real.append(part)
    if item["type"] == "missing":
        real.append(item["loc"][-1])
    return tuple(real)


def _keys_at(annotation: Any, location: Sequence[str | int]) -> set[str]:
    """Names of the keys that the models reachable at `location` know."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(_keys_at(arg, location) for arg in get_args(annotation)))
    if origin in (list, tuple, dict) and location:
        return _keys_at(get_args(annotation)[-1], location[1:])
    if hasattr(annotation, "__metadata__"):
        return _keys_at(get_args(annotation)[0], location)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    if not location:
        return {info.alias or name for name, info in annotation.model_fields.items() if not info.exclude}
    if location[0] in annotation.model_fields:
        return _keys_at(annotation.model_fields[str(location[0])].annotation, location[1:])
    # The part names a member of a union, not a key.
    return _keys_at(annotation, location[1:])
