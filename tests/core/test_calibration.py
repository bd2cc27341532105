"""Calibration data in a config and in a plan: what may be said, what is refused before anything is read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmcourse.core.calibration import (
    Calibration,
    calibration_checks,
    config_of,
    provenance,
    revision_of,
)
from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.machine import Machine
from llmcourse.core.plan import Check, DatasetFacts, Facts, FileFacts
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client

MACHINE = Machine(cpus=4, memory_bytes=8_000_000_000, total_memory_bytes=12_000_000_000)
C4 = DatasetFacts(
    "allenai/c4",
    "c" * 40,
    {"en": ("train", "validation"), "realnewslike": ("train",), "multilingual": ()},
)
ASKED = {"dataset": "allenai/c4", "split": "train", "samples": 128, "length": 2048}


def facts(dataset: DatasetFacts | LlmcourseError = C4, **files: FileFacts | LlmcourseError) -> Facts:
    named = {name.replace("_", "."): file for name, file in files.items()}
    return Facts(MACHINE, {}, named, datasets={"allenai/c4": dataset})


def check(known: Facts, **wish: Any) -> Check:
    (found,) = calibration_checks(Calibration(**wish), known)
    return found


def refusal(**keys: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Calibration(**keys)
    return str(caught.value.errors()[0]["msg"])


def test_what_is_not_said_is_as_papers_have_it() -> None:
    wish = Calibration(dataset="allenai/c4")
    assert (wish.split, wish.samples, wish.length, wish.seed) == ("train", 128, 2048, 0)
    assert wish.datasets() == ("allenai/c4",) and wish.files() == {}


def test_a_file_has_two_names_and_may_be_one_of_many() -> None:
    assert Calibration(text="a.txt") == Calibration(file="a.txt") == Calibration(text=["a.txt"])
    many = Calibration(text=["a.txt", "~/b.jsonl"])
    assert many.files() == {"a.txt": Path("a.txt"), "~/b.jsonl": Path.home() / "b.jsonl"}
    assert many.datasets() == ()


def test_it_is_read_back_from_its_own_json() -> None:
    for wish in (Calibration(text="a.txt", seed=3), Calibration(**ASKED, name="en")):
        assert Calibration(**json.loads(wish.model_dump_json())) == wish


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({}, "needs a dataset or a text"),
        ({"dataset": "allenai/c4", "text": "a.txt"}, "and not both"),
        ({"text": "a.csv"}, "'a.csv' is no kind of file that is read"),
        ({"text": ["a.txt", "b.json"]}, "'b.json' is no kind of file"),
        ({"text": []}, "at least 1 item"),
        ({"dataset": "c4"}, "'c4' is no data set of the Hub"),
        ({"dataset": "/etc/passwd"}, "is no data set of the Hub"),
        ({"text": "a.txt", "split": "test"}, "name and split are of a dataset"),
        ({"text": "a.txt", "samples": 0}, "greater than or equal to 1"),
        ({"text": "a.txt", "length": 0}, "greater than or equal to 1"),
        ({"text": "a.txt", "sample": 4}, "Extra inputs"),
    ],
)
def test_what_means_nothing_is_refused(keys: dict[str, Any], what: str) -> None:
    assert what in refusal(**keys)


@pytest.mark.parametrize(
    ("configs", "default", "named", "chosen"),
    [
        (["a", "b"], None, "b", "b"),
        (["a", "b"], "a", None, "a"),
        (["a", "default", "en"], None, None, "default"),
        (["a"], None, None, "a"),
        (["af", "en"], None, None, "en"),
    ],
)
def test_the_config_that_is_meant(
    configs: list[str], default: str | None, named: str | None, chosen: str
) -> None:
    known = DatasetFacts("user/set", "c" * 40, dict.fromkeys(configs, ()), default)
    assert config_of(named, known) == chosen


@pytest.mark.parametrize("named", [None, "fr"])
def test_where_no_config_is_meant_more_than_others_they_are_listed(named: str | None) -> None:
    known = DatasetFacts("user/set", "c" * 40, {f"part{index:02}": () for index in range(14)})
    with pytest.raises(PlanError) as caught:
        config_of(named, known)
    assert caught.value.fix.startswith("Set name: to part00, part01,")
    assert caught.value.fix.endswith("part11 or 2 more.")


def test_c4_as_everybody_writes_it_is_planned() -> None:
    found = check(facts(), **ASKED)
    assert (found.status, found.name) == ("ok", "calibration")
    assert found.what == "128 windows of 2048 tokens of allenai/c4 (en, train) at cccccccc"


@pytest.mark.parametrize(
    ("keys", "what", "fix"),
    [
        ({"split": "test"}, "(en) has no split 'test'", "Set split: to train or validation."),
        ({"name": "de"}, "has no config 'de'", "Set name: to en, multilingual or realnewslike."),
    ],
)
def test_what_the_data_set_does_not_have_is_refused(keys: dict[str, Any], what: str, fix: str) -> None:
    found = check(facts(), **ASKED | keys)
    assert (found.status, found.exit_code, found.fix) == ("fail", 4, fix) and what in found.what


def test_a_split_is_believed_where_nothing_tells_them() -> None:
    assert check(facts(), **ASKED | {"name": "multilingual", "split": "de"}).status == "ok"


def test_a_data_set_that_cannot_be_read_is_refused_as_the_hub_says() -> None:
    found = check(facts(PlanError("It is gated.", "Ask for access.")), **ASKED)
    assert (found.status, found.what, found.exit_code) == ("fail", "It is gated.", 4)


def test_a_text_that_cannot_be_enough_is_refused_with_numbers() -> None:
    found = check(facts(a_txt=FileFacts(5000, "d" * 64)), text="a.txt", samples=8, length=1000)
    assert found.status == "fail" and "5000 bytes" in found.what and "8000 tokens" in found.what
    assert found.fix == "Give more text, or set calibration.samples=1 and calibration.length=625."


def test_a_text_that_is_hardly_enough_is_a_warning_and_more_is_none() -> None:
    hardly = check(facts(a_txt=FileFacts(9000, "d" * 64)), text="a.txt", samples=8, length=1000)
    enough = check(facts(a_txt=FileFacts(90_000, "d" * 64)), text="a.txt", samples=8, length=1000)
    assert (hardly.status, enough.status) == ("warn", "ok") and "about 2250 tokens" in hardly.what


def test_too_little_for_one_window_names_no_number_of_windows() -> None:
    found = check(facts(a_txt=FileFacts(500, "d" * 64)), text="a.txt", samples=8, length=1000)
    assert found.status == "fail" and found.fix.endswith("calibration.samples=1 and calibration.length=62.")


def test_a_short_file_of_rows_is_a_warning_and_a_packed_one_is_read_first() -> None:
    rows = check(facts(a_jsonl=FileFacts(500, "d" * 64)), text="a.jsonl", samples=8, length=1000)
    packed = check(facts(a_parquet=FileFacts(500, "d" * 64)), text="a.parquet", samples=8, length=1000)
    assert (rows.status, packed.status) == ("warn", "ok")


def test_every_file_that_is_not_there_is_told() -> None:
    known = facts(a_txt=PlanError("a.txt cannot be read.", "Check it."), b_txt=FileFacts(9, "d" * 64))
    (found,) = calibration_checks(Calibration(text=["a.txt", "b.txt"]), known)
    assert (found.status, found.what) == ("fail", "a.txt cannot be read.")


def test_provenance_of_a_data_set_is_its_commit() -> None:
    wish = Calibration(**ASKED, seed=7)
    assert provenance(wish, facts()) == {
        "dataset": "allenai/c4", "revision": "c" * 40, "name": "en", "split": "train", "column": None,
        "samples": 128, "length": 2048, "seed": 7,
    }  # fmt: skip
    assert revision_of(wish, facts()) == "c" * 40


def test_provenance_of_files_is_their_content_and_no_folder() -> None:
    wish = Calibration(text="/home/me/a.txt")
    known = replace(facts(), files={"/home/me/a.txt": FileFacts(9, "d" * 64)})
    found = provenance(wish, known)
    assert found["files"] == [{"name": "a.txt", "sha256": "d" * 64}] and "/home" not in json.dumps(found)
    assert revision_of(wish, known) is None


def _read(names: list[str]) -> Any:
    from llmcourse.core.errors import LlmcourseError
    from llmcourse.core.hub import read_dataset

    def one(name: str) -> Any:
        try:
            return vars(read_dataset(name))
        except LlmcourseError as error:
            return f"{error.what} {error.fix}"

    return {name: one(name) for name in names}


@pytest.fixture
def read(hub: LoopbackHub) -> Callable[..., Any]:
    """Reads data sets of the loopback Hub with the real client."""

    def read(*names: str, **options: Any) -> Any:
        return run_client(hub, _read, list(names), **options)

    return read


CARD = b"""---
configs:
- config_name: en
  data_files:
  - {split: train, path: en/*}
  - {split: validation, path: dev/*}
- {config_name: af, data_files: af/*}
- {config_name: whole, data_dir: whole, default: true}
---
"""


def test_the_hub_is_asked_for_commit_configs_and_splits_and_for_no_data(
    hub: LoopbackHub, read: Callable[..., Any]
) -> None:
    commits = {}
    for name, files in {
        "u/card": {"README.md": CARD, "en/1.jsonl": b"{}"},
        "u/shards": {"data/train-00000-of-00001.parquet": b"x", "data/quiz-00000-of-00001.parquet": b"y"},
        "u/words": {"dev.jsonl": b"{}", "training/a.json.gz": b"x"},
        "u/one": {"all.jsonl": b"{}"},
        "u/script": {"script.py": b"import os"},
    }.items():
        commits[name] = hub.repo(name, "dataset").add_files(files).oid
    found = read(*commits, "u/one@main", "u/none", "u/one@nowhere")
    card = {"en": ["train", "validation"], "af": ["train"], "whole": []}
    assert found["u/card"] == {
        "id": "u/card", "revision": commits["u/card"], "configs": card, "default": "whole"
    }  # fmt: skip
    assert sorted(found["u/shards"]["configs"]["default"]) == ["quiz", "train"]
    assert sorted(found["u/words"]["configs"]["default"]) == ["train", "validation"]
    assert found["u/one"]["configs"] == {"default": ["train"]}
    assert found["u/one@main"]["revision"] == commits["u/one"]
    assert "holds no files of rows" in found["u/script"]
    assert "There is no datasets/u/none on the Hub that you can see." in found["u/none"]
    assert "datasets/u/one@nowhere does not exist." in found["u/one@nowhere"]
    assert all(request.path.startswith("/api/") for request in hub.requests)


def test_a_gated_data_set_is_refused_until_access_is_given(
    hub: LoopbackHub, read: Callable[..., Any]
) -> None:
    repo = hub.repo("org/gated", "dataset")
    repo.add_files({"all.jsonl": b"{}"})
    repo.gate("auto")
    told = read("org/gated", user="alice")["org/gated"]
    assert "is gated and you have no access" in told and f"{hub.endpoint}/datasets/org/gated" in told
    repo.gate("auto", allowed=["alice"])
    assert read("org/gated", user="alice")["org/gated"]["id"] == "org/gated"
