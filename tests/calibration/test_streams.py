"""Data sets of the Hub, streamed by the real library from the loopback Hub."""

import random
from pathlib import Path
from typing import Any

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import Family
from tests.calibration.conftest import lines, read, table, zipped

C4_CARD = b"""---
configs:
- config_name: en
  data_files:
  - {split: train, path: en/c4-train.*.json.gz}
  - {split: validation, path: en/c4-validation.*.json.gz}
- config_name: realnewslike
  data_files:
  - {split: train, path: realnewslike/*.json.gz}
---
"""
WORDS = ["the", "of", "and", "to", "in", "model", "word", "line", "value", "name", "list", "time"]


def documents(name: str, count: int, words: int = 60) -> list[dict[str, Any]]:
    draw = random.Random(name)
    return [
        {"text": f"{name}-{index} " + " ".join(draw.choices(WORDS, k=words)), "url": "u"}
        for index in range(count)
    ]


C4 = {
    **{
        f"en/c4-train.{index:05}-of-00008.json.gz": zipped(documents(f"en{index}", 400)) for index in range(8)
    },
    "en/c4-validation.00000-of-00001.json.gz": zipped(documents("dev", 40)),
    "realnewslike/c4-train.00000-of-00001.json.gz": zipped(documents("news", 40)),
    "README.md": C4_CARD,
}
TABLE = [
    *documents("short", 30, words=80),
    *documents("long", 1, words=50_000),
    {"text": "", "url": "u"},
    {"text": None, "url": "u"},
]
GOOD = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
ODD = {"conversations": [{"from": "tool", "value": "x"}, {"from": "gpt", "value": "hello"}]}
SETS = {
    "allenai/c4": C4,
    "u/table": {"data/train-00000-of-00001.parquet": table(TABLE)},
    "u/chats": {"chats.jsonl": lines([GOOD] * 9 + [ODD] * 2)},
    "u/odd": {"chats.jsonl": lines([ODD] * 200)},
    "u/few": {"all.jsonl": lines(documents("few", 10))},
    "u/broken": {"all.jsonl": b'{"text": "a"}\n{"tex'},
    "u/body": {"all.jsonl": lines([{"body": "a", "url": "u"}])},
    "u/gated": {"all.jsonl": lines(documents("gated", 10))},
    "u/moving": {"all.jsonl": lines(documents("old", 5))},
}
ASKED = {"dataset": "allenai/c4", "split": "train", "samples": 16, "length": 512}
FAULTS = [
    Fault(path=r"json\.gz", skip=1, drop_download_after_bytes=900),
    Fault(path=r"json\.gz", skip=2, drop_download_after_bytes=900, reset=True),
    Fault(path=r"json\.gz", skip=3, status=503),
]


@pytest.fixture(scope="module")
def answers(family: Family, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process read, which is what takes time: its libraries load in seconds."""
    root = tmp_path_factory.mktemp("streams")
    with LoopbackHub(root / "hub") as hub:
        commits = {name: hub.repo(name, "dataset").add_files(files).oid for name, files in SETS.items()}
        hub.repo("u/moving", "dataset").add_files({"all.jsonl": lines(documents("new", 5))})
        hub.repo("u/gated", "dataset").gate("auto")
        hub.faults.extend(FAULTS)
        wishes: dict[str, dict[str, Any]] = {
            "usual": ASKED,
            "again": ASKED | {"revision": commits["allenai/c4"]},
            "other seed": ASKED | {"seed": 1},
            "other split": ASKED | {"split": "validation", "what": "texts"},
            "other config": ASKED | {"name": "realnewslike", "what": "texts"},
            "as planned": {"dataset": "u/moving", "revision": commits["u/moving"], "what": "texts"},
            "as written": {"dataset": f"u/moving@{commits['u/moving']}", "what": "texts"},
            "newest": {"dataset": "u/moving", "what": "texts"},
            "packed": {"dataset": "u/table", "samples": 30, "length": 64},
            "texts": {"dataset": "u/table", "length": 64, "what": "texts"},
            "chats": {"dataset": "u/chats", "chat": True, "what": "texts"},
            "no template": {"dataset": "u/chats", "what": "texts"},
            "odd": {"dataset": "u/odd", "chat": True, "what": "texts"},
            "few": {"dataset": "u/few", "samples": 100, "length": 64},
            "broken": {"dataset": "u/broken"},
            "body": {"dataset": "u/body"},
            "no split": {"dataset": "u/few", "split": "test"},
            "gated": {"dataset": "u/gated"},
        }
        found = read(hub, root, family, wishes)
        assert all(fault.matches for fault in FAULTS)
    return found


Answers = dict[str, dict[str, Any]]


def test_c4_as_everybody_writes_it_gives_windows_of_many_files_over_a_bad_line(answers: Answers) -> None:
    windows = answers["usual"]["found"]
    assert [len(window) for window in windows] == [512] * 16
    assert answers["usual"]["first"].startswith("en")


def test_the_seed_decides_what_is_read(answers: Answers) -> None:
    assert answers["usual"]["found"] == answers["again"]["found"] != answers["other seed"]["found"]


def test_split_and_config_that_are_named_are_read(answers: Answers) -> None:
    dev = answers["other split"]["found"]
    assert len(dev) == 40 and all(text.startswith("dev-") for text in dev) and dev != sorted(dev)
    assert all(text.startswith("news-") for text in answers["other config"]["found"])


def test_reading_is_pinned_to_the_commit_of_the_plan(answers: Answers) -> None:
    for key in ("as planned", "as written"):
        assert all(text.startswith("old-") for text in answers[key]["found"])
    assert all(text.startswith("new-") for text in answers["newest"]["found"])


def test_a_long_document_gives_a_passage_and_empty_rows_give_nothing(answers: Answers) -> None:
    assert [len(window) for window in answers["packed"]["found"]] == [64] * 30
    texts = answers["texts"]["found"]
    assert len(texts) == 31 and max(map(len, texts)) == 64 * 8
    assert not any(text.startswith("long-0 ") for text in texts)


def test_conversations_that_the_template_refuses_are_left_out_and_counted(answers: Answers) -> None:
    assert answers["chats"]["found"] == ["<s>user: hi</s><s>assistant: hello</s>"] * 9
    said = "The chat template refuses 2 conversations of u/chats; they are left out."
    assert answers["chats"]["notes"] == [said]


def test_a_template_that_takes_none_of_them_is_an_error(answers: Answers) -> None:
    assert answers["odd"]["error"] == "PlanError" and "(no tool)" in answers["odd"]["what"]
    without = answers["no template"]["what"]
    assert without.startswith("a row of u/chats is a conversation, and the model has no chat template")


def test_too_little_is_refused_with_numbers(answers: Answers) -> None:
    few = answers["few"]
    assert few["error"] == "PlanError" and "u/few gives" in few["what"] and "need 6,400" in few["what"]
    assert "in 10 documents, 64 of each at most" in few["what"] and "or set samples: " in few["fix"]


@pytest.mark.parametrize(
    ("key", "error", "what"),
    [
        ("broken", "LibraryError", "u/broken cannot be read (ArrowInvalid"),
        ("body", "PlanError", "a row of u/body has nothing under text"),
        ("no split", "LibraryError", "u/few cannot be read (ValueError: Bad split"),
        ("gated", "PlanError", "datasets/u/gated is gated and you have no access."),
    ],
)
def test_what_cannot_be_read_is_refused(answers: Answers, key: str, error: str, what: str) -> None:
    assert answers[key]["error"] == error and what in answers[key]["what"]


@pytest.mark.slow
def test_a_connection_that_stays_away_is_an_error_within_two_minutes(
    hub: LoopbackHub, tmp_path: Path, family: Family
) -> None:
    hub.repo("allenai/c4", "dataset").add_files(C4)
    hub.faults.append(Fault(path=r"json\.gz", times=None, drop_download_after_bytes=900, reset=True))
    found = read(hub, tmp_path, family, {"cut": ASKED})["cut"]
    assert (
        found["error"] == "LibraryError" and "could not be reached for datasets/allenai/c4" in found["what"]
    )
