"""With the core install alone every help, every plan and every error works, and says what is missing."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcourse.cli import COMMANDS
from llmcourse.testing.plugin import Cli
from tests.model_folders import write_model
from tests.package.installing import ROOT

RECIPE = """\
models:
  - {model: ./a, parameters: {weight: 0.5}}
  - {model: ./b, parameters: {weight: 0.5}}
merge_method: linear
"""


@pytest.fixture
def core(core: Cli) -> Cli:
    """The program of the core install, with two models and a recipe where it runs."""
    for name in ("a", "b"):
        write_model(core.folder / name)
    (core.folder / "m.yaml").write_text(RECIPE)
    return core


def test_the_core_install_is_without_heavy_libraries(core_python: str) -> None:
    heavy = ("torch", "transformers", "mergekit")
    code = f"from importlib.util import find_spec; print([n for n in {heavy} if find_spec(n)])"
    done = subprocess.run([core_python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([name, "--help"] for name in (*COMMANDS, "family-tree", "demo"))],
)
def test_every_help_works(core: Cli, arguments: list[str]) -> None:
    result = core(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_plan_is_printed_and_names_the_extra_that_is_missing(core: Cli) -> None:
    result = core("merge", "m.yaml", "--dry-run")
    assert (result.exit_code, result.stderr) == (3, "")
    assert "✓ merge_method: Linear, 2 models" in result.stdout
    assert "The libraries mergekit, torch, transformers are not installed." in result.stdout
    assert result.stdout.count("→ Run: pip install 'llmcourse[merge]'") == 1


def test_a_run_ends_before_it_makes_anything(core: Cli) -> None:
    result = core("merge", "m.yaml", "-o", "out")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "fix: Run: pip install 'llmcourse[merge]'" in result.stderr
    assert sorted(path.name for path in core.folder.iterdir()) == ["a", "b", "m.yaml"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["gone.yaml"], 2, "There is no file 'gone.yaml'."),
        (["m.yaml", "dtyp=float16"], 2, "'dtyp' is not a known key."),
        (["m.yaml", "--progress", "loud"], 2, "--progress 'loud' is not known."),
        (["m.yaml", "dtype=bf16"], 2, "dtype 'bf16' is not known."),
        (["m.yaml", "models.0.model=./gone"], 4, "There is no model folder './gone'."),
        (["m.yaml", "models.0.model=org/a", "--dry-run"], 4, "org/a is not in the local cache"),
        (["m.yaml", "--push", "me/x", "--dry-run"], 4, "nothing can be pushed"),
    ],
)
def test_errors_are_sentences(core: Cli, arguments: list[str], code: int, error: str) -> None:
    result = core("merge", *arguments, env={"HF_HUB_OFFLINE": "1"})
    assert result.exit_code == code
    assert error in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def configs() -> Iterator[Any]:
    """Those that we ship, the first of each command in the quick run."""
    for name in COMMANDS:
        for number, path in enumerate(sorted((ROOT / "configs" / name).glob("*.yaml"))):
            yield pytest.param(path, id=f"{name}-{path.stem}", marks=[pytest.mark.slow] if number else [])


@pytest.mark.parametrize("path", list(configs()))
def test_every_config_we_ship_is_planned(core: Cli, path: Path) -> None:
    result = core(path.parent.name, path, "--dry-run", "--no-push", env={"HF_HUB_OFFLINE": "1"})
    is_published_only = "keep_local: false" in path.read_text()  # which --no-push contradicts
    assert result.exit_code == (2 if is_published_only else 4)
    assert "is not in the local cache" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "family-tree").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_family_needs_no_extra_to_be_read(core: Cli, path: Path) -> None:
    result = core("family-tree", path, "formats=json", "--no-push", "--offline", "-o", "family.json")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "is not among the answers that earlier runs kept" in result.stderr


def test_a_picture_names_the_extra_that_is_missing_before_anything_is_asked(core: Cli) -> None:
    result = core("family-tree", "org/name", "-o", "family.svg", env={"PATH": ""})
    assert (result.exit_code, result.stdout) == (3, "")
    assert "pip install 'llmcourse[tree]'" in result.stderr and "read the family" not in result.stderr


def test_the_demo_names_the_extra_that_brings_its_model(core: Cli) -> None:
    result = core("demo")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "fix: Run: pip install 'llmcourse[demo]'" in result.stderr
    assert not (core.folder / "demo-out").exists()
