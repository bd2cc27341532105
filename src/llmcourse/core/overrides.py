"""`key=value` of the command line, written into the document that a config is read from."""

from typing import TYPE_CHECKING, Any

import yaml

from llmcourse.core.documents import YAML_ERRORS, Document, Location
from llmcourse.core.errors import ConfigError

if TYPE_CHECKING:
    from llmcourse.core.config import ConfigFile


def apply_override(document: Document, override: str, model: "type[ConfigFile]") -> None:
    """Write `key=value` into the document; raises ConfigError where it is none."""
    key, sign, text = override.partition("=")
    if not sign or not key:
        raise ConfigError(
            f"{override!r} is not an override.", "Write key=value, for example hub.private=true.", override
        )
    if text == "":
        raise ConfigError(f"The override {override!r} has no value.", f"For none write {key}=null.", override)
    try:
        # A dash alone is a list with nothing in it to YAML, and stdin to everybody else.
        value = text if text == "-" else yaml.safe_load(text)
    except YAML_ERRORS:
        raise ConfigError(
            f"The value of {override!r} is not YAML.",
            "Quote it for YAML too, as in key='\"a: b\"'.",
            override,
        ) from None
    asked: Location = tuple(
        int(part) if part.isascii() and part.isdigit() else part for part in key.split(".")
    )
    location = model.override_location(asked)
    put_value(document.data, location, value, override)
    document.marks[location] = f"override {override}"


def put_value(data: Any, location: Location, value: Any, override: str) -> None:
    """Write a value into nested lists and mappings; `override` is how errors call it."""
    part: Any
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(data, list):
            if not isinstance(part, int) or part >= len(data):
                raise ConfigError(
                    f"{override!r} points to item {part!r} of a list of {len(data)}.",
                    f"Use a number from 0 to {len(data) - 1}." if data else "Write the list itself.",
                    override,
                )
        elif not isinstance(data, dict):
            raise ConfigError(
                f"{override!r} goes into a plain value.", "Override the value itself instead.", override
            )
        if last:
            data[part] = value
        else:
            if isinstance(data, dict) and data.get(part) is None:
                data[part] = {}
            data = data[part]
