"""The wheel on each Python that its metadata claims, so far as this machine has it."""

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.package.installing import PYTHONS, ROOT, Alone, done, interpreter, uv
from tests.package.jobs import JOBS, LEADERBOARD, carry_out, program

TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "numpy")
# What needs no extra, as processes and as functions.
LIGHT = ("tests/core/test_config.py", "tests/core/test_documents.py", "tests/merge/test_plan.py")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_works_on_every_python_that_is_claimed(llmcourse: Cli, alone: Alone, version: str) -> None:
    python = alone("", interpreter(version))
    done(uv(), "pip", "install", "--quiet", "--python", python, "-c", ROOT / "constraints.txt", *TOOLS)
    cli = Cli(llmcourse.folder, {**llmcourse.env, "PYTHONPATH": ""}, python)
    assert cli("--version").exit_code == 0
    done(python, "-m", "pytest", "-q", "-m", "not slow", *LIGHT)


# The first of them has each extra in an environment of its own in test_extras.py.
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extra", JOBS)
@pytest.mark.parametrize("version", PYTHONS[1:])
def test_each_extra_does_its_job_on_every_python_that_is_claimed(
    llmcourse: Cli, family: Family, alone: Alone, version: str, extra: str
) -> None:
    carry_out(program(llmcourse, alone(extra, interpreter(version)), family), extra)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", PYTHONS[1:])
def test_the_leaderboards_tasks_find_their_libraries_on_every_python_that_is_claimed(
    alone: Alone, version: str
) -> None:
    done(alone("leaderboard", interpreter(version)), "-c", LEADERBOARD)
