"""One key in the YAML head of somebody's card: it is written anew, every other byte of the card stays."""

import re
from typing import Any

import yaml

from llmcourse.core.documents import YAML_ERRORS
from llmcourse.core.errors import PublishError

_HEAD = re.compile(r"\A(\ufeff?\s*---[ \t]*\r?\n)(.*?)(^---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)


def read_head(card: str) -> dict[str, Any]:
    """What the head says; nothing where there is none.

    Raises:
        PublishError: it is no YAML, or no mapping.
    """
    match = _HEAD.match(card)
    return _read(match[2]) if match else {}


def with_key(card: str, key: str, value: Any) -> str:
    """The card with `key` of its head set to `value`; an empty one takes the key away.

    Comments, order and quotes of everything else are kept as they were written.

    Raises:
        PublishError: the head is no YAML mapping, or cannot be changed without touching other keys.
    """
    match = _HEAD.match(card)
    if match is None:
        return f"---\n{_block(key, value)}---\n\n{card}" if value else card
    opening, head, closing = match.groups()
    before = _read(head)
    if before.get(key) == value or (not value and key not in before):
        return card
    newline = "\r\n" if opening.endswith("\r\n") else "\n"
    block = _block(key, value).replace("\n", newline) if value else ""
    changed = _replaced(head, key, block, newline) if key in before else _added(head, block, newline)
    expected = {name: item for name, item in before.items() if name != key} | ({key: value} if value else {})
    if _read(changed) != expected:
        raise PublishError(
            f"The head of the card is written in a way to which {key} cannot be added safely.",
            f"Write {key} in it as a block of its own.",
            where="README.md",
        )
    return opening + changed + closing + card[match.end() :]


def _read(head: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(head)
    except YAML_ERRORS as error:
        raise PublishError(
            "The head of the card is no YAML.", "Correct the card on the Hub first.", where="README.md"
        ) from error
    if data is not None and not isinstance(data, dict):
        raise PublishError(
            "The head of the card is no mapping.", "Correct the card on the Hub first.", where="README.md"
        )
    return data or {}


def _block(key: str, value: Any) -> str:
    return yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=1000)


def _replaced(head: str, key: str, block: str, newline: str) -> str:
    """The head's text with the lines of this key replaced by `block`; as it is where they are not found."""
    lines = head.splitlines(keepends=True)
    start = next(
        (at for at, line in enumerate(lines) if re.match(rf"(['\"]?){re.escape(key)}\1\s*:", line)), None
    )
    if start is None:
        return head
    end = start + 1
    while end < len(lines) and re.match(r"[ \t\-]|\s*$", lines[end]):
        end += 1
    while not lines[end - 1].strip():  # what separates it from the next key is that one's
        end -= 1
    return "".join(lines[:start]) + block + "".join(lines[end:])


def _added(head: str, block: str, newline: str) -> str:
    return head + ("" if not head or head.endswith("\n") else newline) + block
