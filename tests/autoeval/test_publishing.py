"""All places at once: what was found, each by itself, and what is said before anything is evaluated."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.results import result_path
from llmcourse.testing.github import LoopbackGitHub
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.client import run_client
from tests.autoeval.test_eval_results import ARC, CARD, FAILED, GSM8K, MODEL

WISHES = {"hub": True, "gist": "private", "leaderboard": "alice/board"}


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackGitHub]:
    with LoopbackGitHub() as github:
        for name, value in github.env().items():
            monkeypatch.setenv(name, value)
        yield github


@pytest.fixture
def result(hub: LoopbackHub, tmp_path: Path) -> Path:
    """The folder of a result on a model of the Hub."""
    hub.repo(MODEL).add_files({"README.md": CARD.encode(), "model.safetensors": b"w"})
    for task in (ARC, replace(FAILED, error="", metrics={"acc,none": 0.25}, fewshot=5), GSM8K):
        task.write(tmp_path / "out" / result_path(MODEL, task.task))
    return tmp_path / "out"


def publish(folder: str, model: str, wishes: dict[str, Any], limit: Any = None) -> Any:
    """The checks of the plan and then the publication; in a process of its own."""
    from llmcourse.autoeval.config import Config
    from llmcourse.autoeval.publishing import look_up, publish_checks
    from llmcourse.autoeval.publishing import publish as after
    from llmcourse.core.artifact import Artifact
    from llmcourse.core.errors import LlmcourseError, Problems
    from llmcourse.core.machine import Machine
    from llmcourse.core.model import ModelFacts, ModelRef
    from llmcourse.core.plan import Facts
    from llmcourse.core.progress import Progress
    from tests.autoeval.test_eval_results import SUITE

    config = Config(model=[model], suite="openllm", publish=wishes, runtime={"limit": limit})
    ref = ModelRef.parse(model)
    facts = Facts(
        Machine(1, 1, 1, ()),
        {model: ModelFacts(ref, "c" * 40, {}, {}, (), {}, hub_id=ref.path)},
        present=look_up(config),
    )
    refused = [check for check in publish_checks(config, facts) if check.status == "fail"]
    if refused:
        return {"exit": refused[0].exit_code, "what": [check.what for check in refused]}
    details = {"suite": SUITE.model_dump(mode="json"), "versions": {"lm-eval": "0.4.13"}}
    artifact = Artifact("autoeval", folder, "f", (), {}, {}, {}, details)
    notes: list[Any] = []
    try:
        return after(config, facts, artifact, Progress(notes.append))
    except LlmcourseError as error:
        errors = error.errors if isinstance(error, Problems) else [error]
        return {
            "exit": error.exit_code,
            "what": [item.what for item in errors],
            "published": [note.text for note in notes],
        }


def test_figures_go_to_every_place_and_a_second_time_to_the_same(
    hub: LoopbackHub, github: LoopbackGitHub, result: Path
) -> None:
    said = run_client(hub, publish, result, MODEL, WISHES)
    (gist,) = github.gists.values()
    assert said == {
        "model-index": f"{hub.endpoint}/{MODEL}",
        "leaderboard": f"{hub.endpoint}/datasets/alice/board",
        "gist": f"https://gist.github.com/alice/{gist.id}",
    }
    assert gist.public is False and list(gist.files) == ["tiny-Openllm.md"]
    third = gist.files["tiny-Openllm.md"].splitlines()[2].split("|")[1:-1]  # as YALL reads it
    assert third[0].strip() == f"[tiny](https://huggingface.co/{MODEL})"
    assert [float(cell) for cell in third[1:]] == [34.5, 25.0, 41.23, 33.58]
    (row,) = map(json.loads, hub.repo("alice/board", "dataset").read("openllm.jsonl").splitlines())
    assert (row["model"], row["ARC"], row["MMLU"], row["GSM8K"]) == (MODEL, 34.5, 25.0, 41.23)
    assert row["average"] == 33.58 and row["revision"] == "c" * 40
    commits = len(hub.repo(MODEL).commits()), len(hub.repo("alice/board", "dataset").commits())
    assert run_client(hub, publish, result, MODEL, WISHES) == said
    assert gist.revisions == 1
    assert (len(hub.repo(MODEL).commits()), len(hub.repo("alice/board", "dataset").commits())) == commits


def test_a_failed_group_has_no_figure_and_no_average_anywhere(
    hub: LoopbackHub, github: LoopbackGitHub, result: Path
) -> None:
    FAILED.write(result / result_path(MODEL, FAILED.task))
    run_client(hub, publish, result, MODEL, WISHES)
    (gist,) = github.gists.values()
    assert "out of memory" in gist.files["tiny-Openllm.md"]
    (row,) = map(json.loads, hub.repo("alice/board", "dataset").read("openllm.jsonl").splitlines())
    assert row["MMLU"] is None and row["average"] is None
    assert "mmlu" not in hub.repo(MODEL).read("README.md").decode()


def test_one_place_that_fails_keeps_no_other_from_its_figures(
    hub: LoopbackHub, github: LoopbackGitHub, result: Path
) -> None:
    hub.repo("alice/board", "dataset").add_files({"openllm.jsonl": b"no rows\n"})
    said = run_client(hub, publish, result, MODEL, WISHES)
    assert said["exit"] == 6 and len(said["what"]) == 1 and "no rows of a leaderboard" in said["what"][0]
    published = [note.split(": ")[1] for note in said["published"] if note.startswith("published: ")]
    assert published == ["model-index", "gist"]
    (told,) = [note for note in said["published"] if note.startswith("! ")]
    assert "none of its data sets is a benchmark of the Hub" in told
    assert len(github.gists) == 1 and "model-index" in hub.repo(MODEL).read("README.md").decode()


def test_the_plan_refuses_what_could_not_be_published(
    hub: LoopbackHub, github: LoopbackGitHub, result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = run_client(hub, publish, result, MODEL, WISHES, 10)
    assert trial["exit"] == 2 and "this is a trial" in trial["what"][0]
    folder = run_client(hub, publish, result, str(result), {"hub": True})
    assert folder["exit"] == 4 and "no repository of the Hub" in folder["what"][0]
    monkeypatch.delenv("GITHUB_TOKEN")
    refused = run_client(hub, publish, result, MODEL, WISHES, user="bob")
    assert [what.split(".")[0] for what in refused["what"]] == [
        "bob may not write to alice on the Hub",
        "bob may not write to alice on the Hub",
        "There is no GitHub token to publish a gist with",
    ]
    assert github.gists == {} and len(hub.repo(MODEL).commits()) == 2
