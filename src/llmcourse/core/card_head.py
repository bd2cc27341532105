"""The YAML head of somebody else's model card, read leniently: what cannot be read tells nothing."""

import re
from typing import Any

import yaml

from llmcourse.core.documents import YAML_ERRORS

_CARD_HEAD = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


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
        return None
    try:
        head = yaml.safe_load(found[1])
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 2}" if error.problem_mark else ""
        return f"{error.problem}{line}"
    except YAML_ERRORS as error:
        return str(error).splitlines()[0]
    return None if head is None or isinstance(head, dict) else "it has no keys"
