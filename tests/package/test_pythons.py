"""The wheel on each Python that its metadata claims, so far as this machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from llmcourse.testing.plugin import Cli
from tests.package.installing import ROOT, Built, bare, done, install, uv

PYTHONS = ("3.11", "3.12", "3.13")
TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "numpy")
LIGHT = ("tests/core/test_config.py", "tests/core/test_documents.py", "tests/merge/test_plan.py")


def found(version: str) -> str | None:
    """An interpreter of this version that starts: on the PATH, or among pyenv's."""
    on_path = shutil.which(f"python{version}")
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for python in [*([on_path] if on_path else []), *map(str, pyenv)]:
        # pyenv's own stand-in on the PATH refuses where the version is not chosen.
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_works_on_every_python_that_is_claimed(
    built: Built, llmcourse: Cli, tmp_path: Path, version: str
) -> None:
    interpreter = found(version)
    if interpreter is None:
        pytest.skip(f"there is no Python {version} on this machine")
    python = bare(tmp_path / "environment", interpreter)
    install(python, built.wheel)
    done(uv(), "pip", "install", "--quiet", "--python", python, "-c", ROOT / "constraints.txt", *TOOLS)
    assert Cli(tmp_path, {**llmcourse.env, "PYTHONPATH": ""}, python)("--version").exit_code == 0
    done(python, "-m", "pytest", "-q", "-m", "not slow", *LIGHT)
