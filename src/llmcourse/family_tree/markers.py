"""The part of a model card that is ours: what is between two lines is replaced, every other byte stays."""

import re
from dataclasses import dataclass

from llmcourse.core.errors import PublishError

BEGIN = "<!-- llmcourse family-tree: begin (the next run replaces this part) -->"
END = "<!-- llmcourse family-tree: end -->"
# What follows the colon's word may have been edited; a marker is a line of its own.
_MARKER = re.compile(r"\s*<!--\s*llmcourse family-tree: (begin|end)\b.*-->\s*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


@dataclass(frozen=True)
class _Marker:
    word: str  # begin or end
    line: int  # from 0


def with_tree(card: str, mermaid: str) -> str:
    """The card with this diagram between the markers; at its end, where there are none yet.

    Raises:
        PublishError: a marker is alone, twice or in the wrong order, or the card ends inside a code block.
    """
    newline = "\r\n" if "\r\n" in card else "\n"
    lines: list[str] = re.findall(r"[^\n]*\n|[^\n]+", card)
    markers, open_fence = _markers(lines)
    part = _part(mermaid).replace("\n", newline)
    if not markers:
        return _appended(card, part, newline, open_fence)
    words = [marker.word for marker in markers]
    if words != ["begin", "end"]:
        at = ", ".join(f"{marker.word} in line {marker.line + 1}" for marker in markers)
        raise PublishError(
            f"The markers around the family tree in README.md are not one pair: {at}.",
            "Take them out of the card, or leave one begin with one end after it.",
            where="README.md",
        )
    first, last = markers[0].line, markers[1].line
    ending = lines[last][len(lines[last].rstrip("\r\n")) :]  # none, where the card ends with it
    return "".join(lines[:first]) + part + ending + "".join(lines[last + 1 :])


def _markers(lines: list[str]) -> tuple[list[_Marker], int | None]:
    """Our markers, and the line of a code block that is never closed.

    A card may show the markers in a code block, as a documentation does; those are not meant.
    """
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
        elif marker := _MARKER.fullmatch(text):
            found.append(_Marker(marker[1], at))
    return found, opened


def _length_of_head(lines: list[str]) -> int:
    """How many lines the YAML at the card's begin takes, which is no Markdown."""
    texts = [line.lstrip("\ufeff").rstrip() for line in lines]
    if not texts or texts[0] != "---" or "---" not in texts[1:]:
        return 0
    return texts.index("---", 1) + 1


def _part(mermaid: str) -> str:
    """Both markers and what is between them, without a line's end after the last."""
    longest = max((len(run) for run in re.findall(r"`+", mermaid)), default=0)
    fence = "`" * max(3, longest + 1)  # nothing in the diagram can close it
    return f"{BEGIN}\n## Family tree\n\n{fence}mermaid\n{mermaid.strip()}\n{fence}\n{END}"


def _appended(card: str, part: str, newline: str, open_fence: int | None) -> str:
    if open_fence is not None:
        raise PublishError(
            f"A code block of README.md begins in line {open_fence + 1} and never ends.",
            "Close it; a diagram after it would be shown as code.",
            where="README.md",
        )
    if not card:
        return part + newline
    gap = "" if card.endswith(("\n\n", "\r\n\r\n")) else newline if card.endswith("\n") else newline * 2
    return f"{card}{gap}{part}{newline}"
