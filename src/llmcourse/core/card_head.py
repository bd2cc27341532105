"""The YAML head of somebody else's model card, read leniently: what cannot be read tells nothing."""

import re
from typing import Any

import yaml

from llmcourse.core.documents import YAML_ERRORS

_CARD_HEAD = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)

# Keys after the first ---, and no second one: a card that is to have a head, not a rule above a text.
_UNENDED = re.compile(r"\A---[ \t]*\r?\n\w+:")


def card_metadata(text: str) -> dict[str, Any]:
    """The YAML head of a model card; an absent or unreadable head tells nothing and is empty."""
    found = _CARD_HEAD.match(text)
    if found is None:
        return {}
    try:
        head = yaml.safe_load(found[1])
    except YAML_ERRORS:
        return {}
    return head if isinstance(head, dict) else {}


def head_problem(text: str) -> str | None:
    """Why the YAML head of a model card cannot be read; None where it can, or where there is none."""
    found = _CARD_HEAD.match(text)
    if found is None:
        return "it begins and does not end" if _UNENDED.match(text) else None
    return yaml_problem(found[1], first_line=2)


def yaml_problem(text: str, first_line: int = 1) -> str | None:
    """Why a text is no YAML mapping, with the line; None where it is one, or empty."""
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + first_line}" if error.problem_mark else ""
        return f"{error.problem}{line}"
    except YAML_ERRORS as error:
        return str(error).splitlines()[0]
    return None if data is None or isinstance(data, dict) else "it has no keys"
