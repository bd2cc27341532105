"""Data sets of tasks, looked at in the plan: what the Hub tells of them, and what is made of it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.data_checks import look_further
from llmcourse.core.errors import LibraryError
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli
from tests.autoeval.builders import INSTALLED, config, plan_of, said
from tests.autoeval.test_plan import KNOWN

# In a child, since huggingface_hub reads the Hub's address when it is imported.
_ASKED = """
import json, sys
from llmcourse.core import hub
found = hub.look_at({name: frozenset(configs) for name, configs in json.loads(sys.argv[1]).items()})
print(json.dumps({name: getattr(data, "what", None) or vars(data) for name, data in found.items()}))
"""
_CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
- config_name: other
  data_files:
  - {split: test, path: other/*}
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    with LoopbackHub(tmp_path_factory.mktemp("hub")) as hub:
        rows = {
            "main/train-0.parquet": bytes(100),
            "main/test-0.parquet": bytes(20),
            "other/t.parquet": bytes(5),
        }
        hub.repo("org/open", "dataset").add_files({"README.md": _CARD.encode(), **rows})
        hub.repo("org/scripted", "dataset").add_files({"scripted.py": b"", "data/test.parquet": bytes(7)})
        hub.repo("org/gated", "dataset").add_files({"README.md": _CARD.encode(), **rows})
        hub.repo("org/gated", "dataset").gate("auto")
        yield hub


def test_the_hub_tells_of_rights_configs_splits_scripts_and_sizes(
    hub: LoopbackHub, tmp_path: Path, python_says: Callable[..., Any]
) -> None:
    asked: Mapping[str, list[str | None]] = {
        "org/open": ["main"], "org/scripted": [None], "org/gated": ["main"], "org/absent": [None],
    }  # fmt: skip
    found = python_says(_ASKED, asked, env=hub.env(home=tmp_path))
    splits = {"main": ["train", "test"], "other": ["test"]}
    assert found["org/open"] == {
        "configs": splits, "default": None, "has_script": False, "missing_bytes": 120,
    }  # fmt: skip
    assert found["org/scripted"]["has_script"] and found["org/scripted"]["missing_bytes"] == 7
    assert "is gated and you have no access" in found["org/gated"]
    assert "There is no datasets/org/absent on the Hub" in found["org/absent"]


def test_a_hub_that_is_not_reached_tells_nothing(tmp_path: Path, python_says: Callable[..., Any]) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    assert python_says(_ASKED, {"org/open": [None]}, env=env) == {}


@pytest.fixture
def python_says(tmp_path: Path) -> Callable[..., Any]:
    """What a script prints as JSON in a Python of its own."""
    import json
    import os
    import subprocess
    import sys

    def says(code: str, argument: object, env: Mapping[str, str]) -> Any:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        made = subprocess.run(
            [sys.executable, "-c", code, json.dumps(argument)], env=kept | dict(env), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)

    return says


def told(data: Mapping[str, Any], dataset: Mapping[str, Any], status: Any = "fail") -> list[str]:
    """What the plan says of a data set that a task reads, as the Hub has told of it."""
    import json

    entry = KNOWN | {"dataset": dataset}
    answers = {"tasks": {"t": entry}, "near": {}, "leaves": {"t": {"t_part": entry}}}
    present = INSTALLED | {"data sets": json.dumps({"sets": {"org/set": data}, "has_punkt": True})}
    plan = plan_of("model: org/tiny\ntasks: [t]\n", answers=answers, present=present)
    assert plan.estimate.download >= data.get("missing_bytes", 0)
    return [line for line in said(plan, status) if line.startswith("data set")]


OPEN = {"configs": {"main": ["train", "test"]}, "default": None, "has_script": False, "missing_bytes": 9}
READ = {"path": "org/set", "name": "main", "splits": ["test", "train"]}


def test_what_can_be_read_is_fine_with_its_size() -> None:
    assert told(OPEN, READ) == []
    assert told(OPEN, READ | {"name": None}) == []  # the only config is the default one
    assert told(OPEN | {"configs": {}}, READ | {"name": "whatever"}) == []  # the card tells nothing


@pytest.mark.parametrize(
    ("data", "dataset", "what"),
    [
        (
            {"what": "org/set is gated.", "fix": "Ask for access.", "exit_code": 4},
            READ,
            "data set of t: org/set is gated. Ask for access; or leave t out.",
        ),
        (OPEN | {"has_script": True}, READ, "data set of t: org/set is made by a script of its own"),
        (OPEN, READ | {"name": "hard"}, "data set of t: org/set has no config 'hard', but main."),
        (
            OPEN,
            READ | {"splits": ["dev"]},
            "data set of t: org/set has no split 'dev' in main, but train, test.",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    data: Mapping[str, Any], dataset: Mapping[str, Any], what: str
) -> None:
    (line,) = told(data, dataset)
    assert line.startswith(what) and "leave t out" in line


def test_the_sentences_that_ifeval_needs_are_told() -> None:
    entry = KNOWN | {"dataset": None}
    answers = {"tasks": {"leaderboard_ifeval": entry}, "near": {}}
    answers["leaves"] = {"leaderboard_ifeval": {"leaderboard_ifeval": entry}}
    present = INSTALLED | {"data sets": '{"sets": {}, "has_punkt": false}'}
    plan = plan_of("model: org/tiny\ntasks: [leaderboard_ifeval]\n", answers=answers, present=present)
    assert any("needs nltk's punkt_tab" in line for line in said(plan, "warn"))


def test_libraries_that_only_some_tasks_need_are_told_by_name() -> None:
    entry = KNOWN | {"dataset": None}
    name = "leaderboard_math_algebra_hard"
    answers = {"tasks": {"leaderboard_math_hard": entry}, "near": {}}
    answers["leaves"] = {"leaderboard_math_hard": {name: entry}}
    present = INSTALLED | {"data sets": '{"sets": {}, "has_punkt": true, "absent": ["math_verify", "nltk"]}'}
    plan = plan_of("model: org/tiny\ntasks: [leaderboard_math_hard]\n", answers=answers, present=present)
    assert plan.exit_code == 3
    assert said(plan) == [
        f"math_verify: {name} need math_verify, not installed here. Run: pip install 'llmcourse[leaderboard]'"
    ]


def test_nothing_is_looked_at_for_another_machine_or_without_answers() -> None:
    read = config("model: org/tiny\nsuite: tiny\n")
    assert look_further(read, LibraryError("a", "b")) == {}
    assert look_further(config("model: org/tiny\nsuite: tiny\nengine: runpod\n"), {}) == {}


@pytest.mark.slow
def test_a_task_on_a_gated_data_set_is_refused_before_anything_is_loaded(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    gated = hub.repo("Idavidrein/gpqa", "dataset")
    gated.add_files({"gpqa_main.csv": b"a\n"})
    gated.gate("auto")
    cli = Cli(tmp_path, hub.env(home=tmp_path / "hf-home"))
    (tmp_path / "e.yaml").write_text("model: org/absent\ntasks: [leaderboard_gpqa]\n")
    made = cli("autoeval", "e.yaml", "--dry-run")
    assert made.exit_code == 4
    assert (
        "data set of leaderboard_gpqa: datasets/Idavidrein/gpqa is gated and you have no access."
        in made.stdout
    )
