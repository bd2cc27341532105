"""Answers of the libraries to a plan's questions, kept by what they depend on."""

import json
from pathlib import Path
from typing import Any

from llmcourse.core.cache import cache_folder
from llmcourse.core.workspace import write_json

_ANSWER = "answer.json"


def place_of(digest: str) -> Path:
    """The folder for the answer to the question of this digest; it need not exist yet."""
    return cache_folder() / "answers" / digest


def kept(place: Path) -> dict[str, Any] | None:
    """The answer, None where it was not asked yet, or is torn: then it is asked again."""
    try:
        answer = json.loads((place / _ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def keep(place: Path, answer: dict[str, Any]) -> None:
    write_json(place / _ANSWER, answer)
