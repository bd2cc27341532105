"""The part of a model card that is ours: what is between two lines is replaced, every other byte stays."""

import re
from dataclasses import dataclass

from llmcourse.core.errors import PublishError

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


@dataclass(frozen=True)
class _Marker:
    word: str  # begin or end
    line: int  # from 0


def with_part(card: str, name: str, what: str, text: str) -> str:
    """The card with this text between the markers of that name; at its end, where there are none yet.

    `what` it is, as an error calls it.

    Raises:
        PublishError: a marker is alone, twice or in the wrong order, or the card ends inside a code block.
    """
    newline = "\r\n" if "\r\n" in card else "\n"
    lines: list[str] = re.findall(r"[^\n]*\n|[^\n]+", card)
    markers, open_fence = _markers(lines, name)
    part = f"{begin(name)}\n{text.strip()}\n{end(name)}".replace("\n", newline)
    if not markers:
        return _appended(card, part, newline, open_fence)
    words = [marker.word for marker in markers]
    if words != ["begin", "end"]:
        at = ", ".join(f"{marker.word} in line {marker.line + 1}" for marker in markers)
        raise PublishError(
            f"The markers around {what} in README.md are not one pair: {at}.",
            "Take them out of the card, or leave one begin with one end after it.",
            where="README.md",
        )
    first, last = markers[0].line, markers[1].line
    ending = lines[last][len(lines[last].rstrip("\r\n")) :]  # none, where the card ends with it
    return "".join(lines[:first]) + part + ending + "".join(lines[last + 1 :])


def begin(name: str) -> str:
    return f"<!-- llmcourse {name}: begin (the next run replaces this part) -->"


def end(name: str) -> str:
    return f"<!-- llmcourse {name}: end -->"


def _markers(lines: list[str], name: str) -> tuple[list[_Marker], int | None]:
    """Our markers, and the line of a code block that is never closed.

    A card may show the markers in a code block, as a documentation does; those are not meant.
    """
    # What follows the colon's word may have been edited; a marker is a line of its own.
    pattern = re.compile(rf"\s*<!--\s*llmcourse {re.escape(name)}: (begin|end)\b.*-->\s*")
    found: list[_Marker] = []
    fence, opened = "", None
    for at in range(_length_of_head(lines), len(lines)):
        text = lines[at].rstrip("\r\n")
        mark = _FENCE.fullmatch(text)
        if fence:
            closes = mark and mark[1].startswith(fence) and not mark[2].strip()
            fence, opened = ("", None) if closes else (fence, opened)
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):  # `` ```a``` `` is text (CommonMark 4.5)
            fence, opened = mark[1], at
        elif marker := pattern.fullmatch(text):
            found.append(_Marker(marker[1], at))
    return found, opened


def _length_of_head(lines: list[str]) -> int:
    """How many lines the YAML at the card's begin takes, which is no Markdown."""
    texts = [line.lstrip("\ufeff").rstrip() for line in lines]
    if not texts or texts[0] != "---" or "---" not in texts[1:]:
        return 0
    return texts.index("---", 1) + 1


def _appended(card: str, part: str, newline: str, open_fence: int | None) -> str:
    if open_fence is not None:
        raise PublishError(
            f"A code block of README.md begins in line {open_fence + 1} and never ends.",
            "Close it; what follows it would be shown as code.",
            where="README.md",
        )
    if not card:
        return part + newline
    gap = "" if card.endswith(("\n\n", "\r\n\r\n")) else newline if card.endswith("\n") else newline * 2
    return f"{card}{gap}{part}{newline}"
