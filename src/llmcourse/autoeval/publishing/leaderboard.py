"""A leaderboard: a data set repository with one row a model, and the page that shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmcourse.autoeval.publishing.rows import (
    Row,
    columns,
    parse_rows,
    parse_table,
    with_config,
    with_row,
)
from llmcourse.core import hub
from llmcourse.core.errors import PlanError, PublishError
from llmcourse.core.workspace import write_text

_CARD = "README.md"


def put(place: hub.Place, row: Row, *, is_private: bool) -> str:
    """Put a model's row into the leaderboard, which is made where it is not there; its address.

    Others may write at the same time: no row of theirs is lost.

    Raises:
        PublishError: the Hub refused, or what is there is no leaderboard.
    """
    hub.create(place, is_private)
    path = f"{row.suite}.jsonl"

    def change(texts: Any) -> dict[str, str | None]:
        try:
            rows = with_row(texts[path], row)
        except (ValueError, AttributeError) as error:
            raise PublishError(
                f"{path} of {place.repo} holds no rows of a leaderboard ({error}).",
                "Name another repository in publish.leaderboard.",
                where="publish.leaderboard",
            ) from error
        title = place.repo.rpartition("/")[2]
        return {path: rows, _CARD: with_config(texts[_CARD], row.suite, title)}

    return hub.edit(place, [path, _CARD], change, f"Add {row.model} to {row.suite}")


def command(source: str, output: str | None = None) -> Path:
    """What `llmcourse autoeval leaderboard SOURCE` does: draw the page again; where it is.

    `source` is a data set repository, a folder or a file of rows (.jsonl) or of YALL's tables (.md).

    Raises:
        PlanError: there is nothing of that kind.
    """
    rows = read(source)
    if not rows:
        raise PlanError(
            f"{source} holds no rows of a leaderboard.",
            "Give the data set repository that publish.leaderboard names, or a file of its rows.",
            where=source,
        )
    title = Path(source).stem if Path(source).exists() else source.rpartition("/")[2]
    page = Path(output or "leaderboard.html")
    write_text(page, render(rows, title))
    return page


def read(source: str) -> list[Row]:
    """All rows of a repository, a folder or a file, the later of two of the same model and suite.

    Raises:
        PlanError: it cannot be read, or is damaged.
    """
    path = Path(source)
    if path.is_file():
        texts = {path.name: path.read_text(encoding="utf-8")}
    elif path.is_dir():
        texts = {
            item.name: item.read_text(encoding="utf-8")
            for item in sorted(path.iterdir())
            if _is_read(item.name)
        }
    else:
        texts = _texts_of(source.removeprefix("hf://").removeprefix("datasets/"))
    rows: dict[tuple[str, str], Row] = {}
    for name, text in texts.items():
        for row in _rows_of(name, text, source):
            rows[row.suite, row.model] = row
    return list(rows.values())


def _is_read(name: str) -> bool:
    return name.endswith((".jsonl", ".md")) and name != _CARD


def _texts_of(repo: str) -> dict[str, str]:
    name, _, revision = repo.partition("@")
    place = hub.Place(name, "dataset", revision or "main")
    with hub.translated(f"datasets/{name}"):
        names = [path for path in hub.list_paths(place) if _is_read(path)]
        return {path: text for path, text in hub.read_texts(place, names).items() if text is not None}


def _rows_of(name: str, text: str, source: str) -> list[Row]:
    if name.endswith(".md"):
        return parse_table(text)
    try:
        return parse_rows(text, Path(name).stem)
    except ValueError as error:
        raise PlanError(
            f"{name} of {source} holds no rows of a leaderboard ({error}).",
            "Mend the line, or give another source.",
            where=source,
        ) from error


def render(rows: Sequence[Row], title: str) -> str:
    """The page, whole in one file: it loads nothing, and is readable without scripts."""
    environment = Environment(
        loader=PackageLoader("llmcourse.autoeval.publishing", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    suites = [_table(name, [row for row in rows if row.suite == name]) for name in _suites(rows)]
    page = environment.get_template("leaderboard.html.jinja").render(title=title, suites=suites)
    return "\n".join(line.rstrip() for line in page.splitlines() if line.strip()) + "\n"


def _suites(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.suite for row in rows))


def _table(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """What the template shows of a suite: the best average first, models without one last."""
    names = columns(rows)
    shown = sorted(rows, key=lambda row: (row.average is None, -(row.average or 0), row.model.lower()))
    values: dict[str, list[float | None]] = {"Average": [row.average for row in shown]}
    values |= {column: [row.scores.get(column) for row in shown] for column in names}
    best = {
        column: max((v for v in found if v is not None), default=None) for column, found in values.items()
    }
    lines = [
        {
            "model": row.model,
            "url": row.url if row.url.startswith(("https://", "http://")) else "",
            "about": ", ".join(f"{key} {value}" for key, value in row.about.items()),
            "cells": [
                {"value": values[key][at], "best": _is_best(values[key][at], best[key])} for key in values
            ],
        }
        for at, row in enumerate(shown)
    ]
    versions = sorted({row.version for row in rows if row.version is not None})
    return {"name": name, "columns": list(values), "rows": lines, "versions": versions}


def _is_best(value: float | None, best: float | None) -> bool:
    return value is not None and value == best
