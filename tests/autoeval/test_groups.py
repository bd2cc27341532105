"""Groups of a suite: each is judged by its own metric, and one without a figure fails the run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.results import result_path
from llmcourse.autoeval.run import run
from llmcourse.autoeval.suite import Group, Task
from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.testing.github import LoopbackGitHub
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.hub.faults import Fault
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli, Result
from tests.autoeval.builders import config, group, outcome, plan_of, suite

SHARED = suite(
    group("Loose", "tiny_word"), Group(name="Strict", tasks=[Task(name="tiny_word", metric="acc,strict")])
)


@pytest.fixture
def finished(tmp_path: Path) -> Job:
    """A job whose only task has ended well, with the metric of one of its two groups."""
    text = "model: org/tiny\nsuite: tiny\n"
    plan = plan_of(text)
    path = result_path("org/tiny", "tiny_word")
    outcome("tiny_word", 0.25).write(tmp_path / path)
    done = OutputFile.of(tmp_path, path, piece="org__tiny|tiny_word")
    settings: dict[str, Any] = plan.settings | plan.labels | {"suite": SHARED.model_dump(mode="json")}
    read = config(text).model_dump(mode="json")
    return Job(read, settings, {"org/tiny": str(tmp_path)}, tmp_path, tmp_path / "scratch", (done,))


def test_a_group_without_a_figure_fails_the_run_when_its_report_is_written(finished: Job) -> None:
    with pytest.raises(LibraryError) as caught:
        list(run(finished, Progress(lambda event: None)))
    assert (
        "Groups have no figure: Strict of org/tiny: tiny_word: it reports no acc,strict" in caught.value.what
    )
    assert str(finished.files / "summary.md") in caught.value.fix
    found = json.loads((finished.files / "results.json").read_text())["models"]["org/tiny"]
    assert found["groups"]["Loose"] == {"value": 25.0} and found["average"] is None
    assert "it reports no acc,strict" in found["groups"]["Strict"]["failed"]


@pytest.fixture
def github() -> Iterator[LoopbackGitHub]:
    with LoopbackGitHub() as github:
        yield github


def evaluated(cli: Cli, github: LoopbackGitHub) -> Result:
    return cli("autoeval", "e.yaml", "-o", "out", "--push", "alice/scores", env=github.env())


@pytest.mark.slow
def test_the_same_command_serves_a_place_that_failed_though_the_model_s_repository_moved(
    tmp_path: Path, family: Family, hub: LoopbackHub, github: LoopbackGitHub
) -> None:
    model = hub.repo("alice/tiny")
    model.add_files({path.name: path for path in family.base.iterdir()})
    cli = Cli(tmp_path, hub.env(home=tmp_path / "hf-home"))
    wishes = "publish: {hub: true, pull_request: false, gist: private}"
    (cli.folder / "e.yaml").write_text(f"model: alice/tiny\nsuite: tiny\n{wishes}\n")
    github.faults.append(Fault("POST", "/gists", times=100, status=500))
    first = evaluated(cli, github)
    assert first.exit_code == 6, first.stderr
    assert len(model.commits()) == 3  # our figures moved it
    github.faults.clear()
    second = evaluated(cli, github)
    assert second.exit_code == 0, second.stderr
    assert len(github.gists) == 1 and "load tiny_word" not in second.stderr
    third = evaluated(cli, github)
    assert third.exit_code == 0 and "load tiny_word" not in third.stderr
    assert (len(model.commits()), len(github.gists)) == (3, 1)
