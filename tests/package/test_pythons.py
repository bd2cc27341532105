"""The wheel on each Python that its metadata claims, so far as this machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.package.installing import ROOT, Alone, done, uv
from tests.package.jobs import JOBS, LEADERBOARD, carry_out, program

PYTHONS = ("3.11", "3.12", "3.13")
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "numpy")
LIGHT = ("tests/core/test_config.py", "tests/core/test_documents.py", "tests/merge/test_plan.py")


def interpreter(version: str) -> str:
    """One of this version that starts, on the PATH or among pyenv's; a test without one is skipped."""
    on_path = shutil.which(f"python{version}")
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for python in [*([on_path] if on_path else []), *map(str, pyenv)]:
        # pyenv's own stand-in on the PATH refuses where the version is not chosen.
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"there is no Python {version} on this machine")


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
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", JOBS)
@pytest.mark.parametrize("version", PYTHONS[1:])
def test_each_extra_does_its_job_on_every_python_that_is_claimed(
    llmcourse: Cli, family: Family, alone: Alone, version: str, extra: str
) -> None:
    carry_out(program(llmcourse, alone(extra, interpreter(version)), family), extra)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", PYTHONS[1:])
def test_the_leaderboards_tasks_find_their_libraries_on_every_python_that_is_claimed(
    alone: Alone, version: str
) -> None:
    done(alone("leaderboard", interpreter(version)), "-c", LEADERBOARD)
