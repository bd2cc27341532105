"""Keys that mergekit does not know: a typo is an error, anything else is ignored as it does, and said."""

import difflib
import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from llmcourse.core.documents import Document, Location

# Two keys as alike as this are taken for one written wrong ("densty", "merge_metod").
_LIKENESS = 0.75


def drop_ignored(document: Document, model: type[BaseModel]) -> list[str]:
    """Take keys out of the document that mergekit would ignore; returns each with its place.

    Keys that look like a known one stay in, so that validation refuses them with their place.
    """
    dropped: list[str] = []
    _visit(document.data, model, (), document, dropped)
    return dropped


def _visit(data: Any, annotation: Any, location: Location, document: Document, dropped: list[str]) -> None:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            _visit(data, argument, location, document, dropped)
    elif origin is list and isinstance(data, list):
        for index, item in enumerate(data):
            _visit(item, get_args(annotation)[0], (*location, index), document, dropped)
    elif origin is dict and isinstance(data, dict):
        for key, item in data.items():
            _visit(item, get_args(annotation)[1], (*location, str(key)), document, dropped)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(data, dict):
        _visit_model(data, annotation, location, document, dropped)


def _visit_model(
    data: dict[str, Any], model: type[BaseModel], location: Location, document: Document, dropped: list[str]
) -> None:
    known = model.model_fields
    for key in [key for key in data if key not in known]:
        if not difflib.get_close_matches(str(key), known, 1, _LIKENESS):
            del data[key]
            dropped.append(f"{key} ({document.where((*location, str(key)))})")
    for key, info in known.items():
        if key in data:
            _visit(data[key], info.annotation, (*location, key), document, dropped)
