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
