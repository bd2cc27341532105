"""A leaderboard: a row a model, written by many at once, shown on a page that needs nothing else."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.publishing.leaderboard import command, read, render
from llmcourse.autoeval.publishing.rows import Row, parse_rows, parse_table, with_config, with_row
from llmcourse.core.errors import PlanError
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client

REPO = "alice/leaderboard"
NOUS = Row(
    "mlabonne/AlphaMonarch-7B", "nous", {"AGIEval": 45.37, "GPT4All": 77.01}, 61.19,
    "https://huggingface.co/mlabonne/AlphaMonarch-7B", 2, {"dtype": "bfloat16"},
)  # fmt: skip
BROKEN = Row("me/broken", "nous", {"AGIEval": 50.0, "GPT4All": None})
YALL = """| Model | Average | AGIEval | GPT4All |
|---|---:|---:|---:|
| [a/best](https://huggingface.co/a/best) [📄](https://gist.github.com/x) | 62.74 | 45.37 | 77.01 |
| [b/next](https://huggingface.co/b/next) [📄](https://gist.github.com/y) | 50 | 40.1 | 60 |
"""


def test_a_row_is_a_line_that_is_read_as_it_was_written() -> None:
    text = with_row(with_row(None, NOUS), BROKEN)
    assert parse_rows(text, "nous") == [NOUS, BROKEN]
    first = json.loads(text.splitlines()[0])
    assert list(first) == ["model", "average", "AGIEval", "GPT4All", "url", "suite_version", "dtype"]


def test_a_model_has_one_row_in_its_place_and_the_same_one_changes_nothing() -> None:
    text = with_row(with_row(None, NOUS), BROKEN)
    better = Row(NOUS.model, "nous", {"AGIEval": 50.0})
    assert [row.scores["AGIEval"] for row in parse_rows(with_row(text, better), "nous")] == [50.0, 50.0]
    assert with_row(text, NOUS) == text


def test_each_suite_is_a_config_of_the_data_set_and_the_card_is_its_owners() -> None:
    card = with_config(None, "nous", "leaderboard")
    assert with_config(card, "nous", "leaderboard") == card
    mine = card.replace("One row a model", "My words")
    both = with_config(mine, "openllm", "leaderboard")
    assert "My words" in both and "openllm.jsonl" in both and "nous.jsonl" in both


def test_a_table_of_yall_and_the_first_table_of_a_summary_are_read() -> None:
    rows = parse_table(YALL)
    assert [(row.model, row.average, dict(row.scores)) for row in rows] == [
        ("a/best", 62.74, {"AGIEval": 45.37, "GPT4All": 77.01}),
        ("b/next", 50.0, {"AGIEval": 40.1, "GPT4All": 60.0}),
    ]
    summary = (
        "|Model|AGIEval|Average|\n|--|--:|--:|\n|[x](https://huggingface.co/me/x)|failed: no|failed|\n\n### A"
    )
    assert parse_table(summary) == [
        Row("me/x", "nous", {"AGIEval": None}, None, "https://huggingface.co/me/x")
    ]
    assert parse_table("# nothing") == []


class Page(HTMLParser):
    """What a reader sees of the tables, and what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attributes)
        self.loaded += [str(given[key]) for key in ("src",) if key in given]
        self.loaded += [str(given["href"])] if tag == "link" else []
        self.links += [str(given["href"])] if tag == "a" else []
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data.strip()


def test_the_page_is_whole_and_shows_the_best_first_and_failures_last() -> None:
    text = render(
        [BROKEN, Row("me/next", "nous", {"AGIEval": 30.0, "GPT4All": 80.0}, 55.0), NOUS], "My board"
    )
    page = Page(text)
    assert page.rows[0] == ["#", "Model", "Average", "AGIEval", "GPT4All"]
    assert [row[:5] for row in page.rows[1:3]] == [
        ["1", NOUS.model, "61.19", "45.37", "77.01"],
        ["2", "me/next", "55.00", "30.00", "80.00"],
    ]
    assert page.rows[3][:4] == ["3", "me/broken", "–", "50.00"]
    assert page.loaded == [] and not re.search(r"url\(|@import|fetch\(", text)
    assert 'aria-sort="descending"' in text and "prefers-color-scheme: dark" in text


def test_names_and_addresses_of_others_are_text() -> None:
    bad = Row("<script>alert(1)</script>", "nous", {"a<b": 1.0}, 1.0, "javascript:alert(1)")
    page = Page(render([bad], "<b>"))
    assert page.links == [] and "b" not in page.tags
    assert page.rows[1][1].startswith("<script>")


def put(repo: str, models: list[str]) -> Any:
    """Add rows as the program does; in a process of its own."""
    from llmcourse.autoeval.publishing import leaderboard
    from llmcourse.autoeval.publishing.rows import Row
    from llmcourse.core import hub
    from llmcourse.core.errors import LlmcourseError

    try:
        for model in models:
            row = Row(model, "nous", {"AGIEval": 40.0}, 40.0)
            url = leaderboard.put(hub.Place(repo, "dataset"), row, is_private=True)
    except LlmcourseError as error:
        return {"exit": error.exit_code, "what": error.what, "fix": error.fix}
    return url


def rows_in(hub: LoopbackHub) -> list[str]:
    return [json.loads(line)["model"] for line in hub.repo(REPO, "dataset").read("nous.jsonl").splitlines()]


def test_writers_at_the_same_time_lose_no_row(hub: LoopbackHub) -> None:
    writers = [[f"org/model-{writer}-{number}" for number in range(3)] for writer in range(3)]
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda models: run_client(hub, put, REPO, models), writers))
    assert said == [f"{hub.endpoint}/datasets/{REPO}"] * 3
    assert sorted(rows_in(hub)) == sorted(model for models in writers for model in models)
    assert hub.repo(REPO, "dataset")._repo().settings.is_private


def test_the_same_row_is_no_commit_and_other_files_stay(hub: LoopbackHub) -> None:
    hub.repo(REPO, "dataset").add_files({"README.md": b"---\nlicense: mit\n---\nMine\n", "mine.txt": b"x"})
    run_client(hub, put, REPO, ["a/b", "a/b"])
    repo = hub.repo(REPO, "dataset")
    assert len(repo.commits()) == 3 and "mine.txt" in repo.files()
    assert repo.read("README.md").decode().startswith("---\nlicense: mit\nconfigs:\n")


def test_what_is_no_leaderboard_is_not_written_to(hub: LoopbackHub) -> None:
    hub.repo(REPO, "dataset").add_files({"nous.jsonl": b"[1, 2]\n"})
    refused = run_client(hub, put, REPO, ["a/b"])
    assert refused["exit"] == 6 and "no rows of a leaderboard" in refused["what"]


def draw(repo: str, page: str) -> Any:
    from llmcourse.autoeval.publishing.leaderboard import command
    from llmcourse.core.errors import LlmcourseError

    try:
        return str(command(repo, page))
    except LlmcourseError as error:
        return {"exit": error.exit_code, "what": error.what, "fix": error.fix}


def test_the_page_of_a_repository_is_drawn_again(hub: LoopbackHub, tmp_path: Path) -> None:
    files = {"nous.jsonl": NOUS.as_json().encode(), "yall.md": YALL.encode()}
    hub.repo(REPO, "dataset").add_files(files)
    page = tmp_path / "page.html"
    assert run_client(hub, draw, f"hf://datasets/{REPO}", page) == str(page)
    assert [row[1] for row in Page(page.read_text()).rows[1:]] == ["a/best", NOUS.model, "b/next"]
    absent = run_client(hub, draw, "alice/nothing", page)
    assert absent["exit"] == 4 and "no datasets/alice/nothing" in absent["what"]


def test_rows_of_a_folder_are_read_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "nous.jsonl").write_text(with_row(None, NOUS))
    assert read(str(tmp_path)) == [NOUS]
    (tmp_path / "nous.jsonl").write_text('{"model": "a"}\n{"name": "b"}\n')
    with pytest.raises(PlanError, match="line 2 names no model"):
        read(str(tmp_path))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(PlanError, match="holds no rows"):
        command(str(tmp_path / "empty.jsonl"), str(tmp_path / "page.html"))
