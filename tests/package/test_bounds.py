"""What pyproject.toml admits works at both ends: whoever installs from the index has none of our pins."""

from pathlib import Path

import pytest

from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.package.installing import PYTHONS, Alone, Built, bare, done, interpreter, uv
from tests.package.jobs import carry_out, program
from tests.package.test_pythons import LIGHT

TOOLS = ("pytest>=9", "pytest-timeout", "pytest-xdist", "numpy")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", PYTHONS)
def test_the_core_works_with_the_oldest_versions_that_are_admitted(
    built: Built, tmp_path: Path, version: str
) -> None:
    oldest = tmp_path / "oldest.txt"
    python = bare(tmp_path / "environment", interpreter(version))
    chosen = ("--resolution", "lowest-direct", "--python", python, "--no-header", "--no-annotate")
    done(uv(), "pip", "compile", "--quiet", *chosen, "pyproject.toml", "--output-file", oldest)
    done(uv(), "pip", "install", "--quiet", "--python", python, "-r", oldest, *TOOLS, built.wheel)
    done(python, "-m", "pytest", "-q", "-m", "not slow", *LIGHT)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_newest_versions_that_are_admitted_work(llmcourse: Cli, family: Family, alone: Alone) -> None:
    extras = ("merge", "gguf", "eval", "tree")
    cli = program(llmcourse, alone(",".join(extras), pinned=False), family)
    for extra in extras:
        carry_out(cli, extra)
