"""An extra brings what its command needs, where nothing else is; without it, a plan names it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.package.installing import Built, bare, install
from tests.package.jobs import JOBS, lay

# As the sentence of a plan names it; ray's workers evaluate.
NAMED = {"ray": "eval,ray"}


@pytest.fixture
def python(tmp_path: Path, built: Built, request: pytest.FixtureRequest) -> Iterator[str]:
    """Python of an environment of its own with one extra; gigabytes, so it does not stay."""
    folder = tmp_path / "environment"
    interpreter = bare(folder)
    install(interpreter, built.wheel, request.param)
    yield interpreter
    shutil.rmtree(folder)


def program(llmcourse: Cli, python: str, family: Family) -> Cli:
    folder = llmcourse.folder / "work"
    folder.mkdir()
    lay(folder, family)
    return Cli(folder, {**llmcourse.env, "PYTHONPATH": "", "RUNPOD_API_KEY": ""}, python)


@pytest.mark.parametrize("extra", [extra for extra in JOBS if extra != "tree"])
def test_without_its_extra_a_plan_names_it(core: Cli, family: Family, extra: str) -> None:
    cli = program(core, core.python, family)
    arguments = [part for part in JOBS[extra].arguments if part != "--dry-run"]
    result = cli(*arguments, "--dry-run", "--json")
    sentences = [check["fix"] for check in result.json["checks"] if check["exit_code"] == 3]
    assert f"Run: pip install 'llmcourse[{NAMED.get(extra, extra)}]'" in sentences
    # What else cannot work says more than a library that is not installed.
    others = {check["exit_code"] for check in result.json["checks"]} - {0, 3}
    assert result.exit_code == (max(others) if others else 3)


def carry_out(cli: Cli, extra: str) -> None:
    job = JOBS[extra]
    if not job.refused:
        result = cli(*job.arguments)
        assert result.exit_code == 0, result.stderr
        return
    result = cli(*job.arguments, "--json")
    refused = {check["name"] for check in result.json["checks"] if check["status"] == "fail"}
    assert refused <= job.refused
    assert (result.exit_code == 0) == (not refused)
    assert "is not installed" not in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("python", "extra"), [(extra, extra) for extra in JOBS], indirect=["python"])
def test_an_extra_alone_is_enough_for_its_job(
    llmcourse: Cli, family: Family, python: str, extra: str
) -> None:
    carry_out(program(llmcourse, python, family), extra)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("python", ["all"], indirect=True)
def test_the_extra_all_is_enough_for_every_plan(llmcourse: Cli, family: Family, python: str) -> None:
    cli = program(llmcourse, python, family)
    for job in (job for extra, job in JOBS.items() if extra != "tree"):
        arguments = [part for part in job.arguments if part != "--dry-run"]
        result = cli(*arguments, "--dry-run", "--json")
        refused = {check["name"] for check in result.json["checks"] if check["status"] == "fail"}
        assert refused <= job.refused, (arguments, result.stdout)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("python", ["leaderboard"], indirect=True)
def test_the_leaderboards_tasks_find_their_libraries(python: str) -> None:
    tasks = (
        "from lm_eval.tasks.leaderboard.ifeval import utils; from lm_eval.tasks.leaderboard.math import utils"
    )
    ended = subprocess.run([python, "-c", tasks], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
