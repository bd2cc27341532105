"""Rows of a leaderboard: one for a model and suite, as JSON lines that the Hub's viewer reads.

A leaderboard is a data set repository with a file for each suite, each a config of its own in the head of
the card, since suites have other columns.  Tables in YALL's form are read too.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmcourse.autoeval.publishing.head import read_head, with_key
from llmcourse.autoeval.suite import RESERVED

_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")


@dataclass(frozen=True)
class Row:
    """`scores` by group, None where a group failed; `average` is None unless every group has a score."""

    model: str
    suite: str
    scores: Mapping[str, float | None]
    average: float | None = None
    url: str = ""
    version: int | None = None
    about: Mapping[str, str] = field(default_factory=dict)  # revision, dtype, versions

    def as_json(self) -> str:
        data: dict[str, Any] = {"model": self.model, "average": self.average, **self.scores}
        data |= {"url": self.url, "suite_version": self.version, **self.about}
        return json.dumps(data, ensure_ascii=False)


def parse_rows(text: str, suite: str) -> list[Row]:
    """Rows of JSON lines.

    Raises:
        ValueError: a line is no JSON object with a model.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        data = json.loads(line)
        if not isinstance(data, dict) or not isinstance(data.get("model"), str):
            raise ValueError(f"line {number} names no model")
        scores = {key: _number(value) for key, value in data.items() if key not in RESERVED}
        about = {key: str(data[key]) for key in ("revision", "dtype", "evaluator") if data.get(key)}
        average, version = _number(data.get("average")), data.get("suite_version")
        url = str(data.get("url") or "")
        rows.append(Row(data["model"], suite, scores, average, url, version, about))
    return rows


def with_row(text: str | None, row: Row) -> str:
    """The JSON lines with this model's row in place of its former one; other lines stay as they are."""
    lines = [line for line in (text or "").splitlines() if line.strip()]
    kept = [line for line in lines if json.loads(line).get("model") != row.model]
    if len(kept) < len(lines):  # in its former place, so that the same row changes nothing
        at = next(number for number, line in enumerate(lines) if json.loads(line).get("model") == row.model)
        kept.insert(at, row.as_json())
    else:
        kept.append(row.as_json())
    return "".join(f"{line}\n" for line in kept)


def with_config(card: str | None, suite: str, title: str) -> str:
    """The card, made where there is none, with the suite's file as a config of the data set."""
    if card is None:
        card = (
            f"---\npretty_name: {json.dumps(title)}\ntags:\n- leaderboard\n- llmcourse\n---\n\n# {title}\n\n"
            "One row a model; each suite is a config. Made by `llmcourse autoeval`;"
            " `llmcourse autoeval leaderboard` draws the page.\n"
        )
    present = read_head(card).get("configs") or []
    if any(isinstance(item, dict) and item.get("config_name") == suite for item in present):
        return card
    return with_key(card, "configs", [*present, {"config_name": suite, "data_files": f"{suite}.jsonl"}])


def parse_table(text: str, suite: str = "nous") -> list[Row]:
    """Rows of a Markdown table in YALL's form: a column Model with links, Average, and one a group.

    The first table of a summary is one too.  A text without such a table has no rows.
    """
    lines = [line.strip() for line in text.splitlines()]
    start = next((at for at, line in enumerate(lines) if re.match(r"\|\s*Model\s*\|", line)), None)
    if start is None:
        return []
    names = _cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = dict(zip(names, _cells(line), strict=False))
        link = _LINK.search(cells["Model"])
        scores = {name: _number(cells.get(name)) for name in names if name not in ("Model", "Average")}
        url = link[2] if link else ""
        model = _hub_id(url) or (link[1] if link else cells["Model"])
        rows.append(Row(model, suite, scores, _number(cells.get("Average")), url))
    return rows


def columns(rows: Iterable[Row]) -> list[str]:
    """Names of the groups, in the order in which they are met."""
    return list(dict.fromkeys(name for row in rows for name in row.scores))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _hub_id(url: str) -> str:
    match = re.fullmatch(r"https?://huggingface\.co/([\w.-]+/[\w.-]+)", url)
    return match[1] if match else ""


def _number(value: Any) -> float | None:
    """A score; a text such as `failed: …` is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None
