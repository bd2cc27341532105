"""The rules of the house, so far as a machine can check them."""

import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmcourse.cli import COMMANDS
from llmcourse.core.config import CommandConfig, load
from llmcourse.core.errors import BY_NAME
from llmcourse.family_tree import arguments as family_tree
from llmcourse.run import arguments as pipelines
from llmcourse.run import steps

if TYPE_CHECKING:
    # Modules satisfy the contracts of a command; mypy compares the signatures.
    import llmcourse.autoeval.card
    import llmcourse.autoeval.plan
    import llmcourse.autoeval.run
    import llmcourse.merge.card
    import llmcourse.merge.plan
    import llmcourse.merge.run
    import llmcourse.quantize_exl2.card
    import llmcourse.quantize_exl2.plan
    import llmcourse.quantize_exl2.run
    import llmcourse.quantize_gguf.card
    import llmcourse.quantize_gguf.plan
    import llmcourse.quantize_gguf.run
    import llmcourse.quantize_gptq.card
    import llmcourse.quantize_gptq.plan
    import llmcourse.quantize_gptq.run
    from llmcourse.core.isolated import Answerer, Runner
    from llmcourse.core.making import CardModule
    from llmcourse.core.plan import PlanModule

    runners: list[Runner] = [
        llmcourse.merge.run.run,
        llmcourse.quantize_gguf.run.run,
        llmcourse.quantize_gptq.run.run,
        llmcourse.quantize_exl2.run.run,
        llmcourse.autoeval.run.run,
    ]
    planners: list[PlanModule] = [
        llmcourse.merge.plan,
        llmcourse.quantize_gguf.plan,
        llmcourse.quantize_gptq.plan,
        llmcourse.quantize_exl2.plan,
        llmcourse.autoeval.plan,
    ]
    writers: list[CardModule] = [
        llmcourse.merge.card,
        llmcourse.quantize_gguf.card,
        llmcourse.quantize_gptq.card,
        llmcourse.quantize_exl2.card,
        llmcourse.autoeval.card,
    ]
    answerers: list[Answerer] = [llmcourse.quantize_gguf.run.answer, llmcourse.autoeval.run.answer]

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
# What reads a config: those that make something by the same five steps, and what only looks.
READERS = (*COMMANDS, family_tree.NAME, pipelines.NAME)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def command_of(config: Path) -> str:
    return config.relative_to(ROOT / "configs").parts[0]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "part", ["__init__.py", "config.py", "plan.py", "card.py", "run.py", "card.md.jinja"]
)
def test_a_command_is_a_package_of_the_same_parts(command: str, part: str) -> None:
    assert (ROOT / "src" / "llmcourse" / command.replace("-", "_") / part).is_file()


@pytest.mark.parametrize("command", READERS)
def test_a_command_has_configs_tests_and_a_page(command: str) -> None:
    assert list((ROOT / "configs" / command).glob("*.yaml"))
    assert list((ROOT / "tests" / command.replace("-", "_")).glob("test_*.py"))
    assert (ROOT / "docs" / "commands" / f"{command}.md").is_file()


@pytest.mark.parametrize("command", READERS)
def test_every_key_of_a_config_says_what_it_means(command: str) -> None:
    model: type[CommandConfig] = import_module(f"llmcourse.{command.replace('-', '_')}.config").Config
    assert [name for name, field in model.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_we_ship_is_one_we_read(path: Path) -> None:
    command = command_of(path)
    assert command in READERS
    config = load(import_module(f"llmcourse.{command.replace('-', '_')}.config").Config, str(path))
    assert not isinstance(config, CommandConfig) or config.models()
    assert getattr(config, "ignored_keys", []) == []


def test_a_pipeline_knows_every_command_that_makes_something() -> None:
    assert tuple(COMMANDS) == steps.MAKERS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_we_ship_says_how_to_run_it(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("# Run ") for line in header)
    assert any(line.startswith("# Needs ") for line in header)


def shown_overrides(path: Path) -> list[str]:
    """What the header's lines `Run` and `Override` show in the form key=value."""
    shown = "\n".join(line for line in path.read_text().splitlines() if re.match(r"# (Run|Override) ", line))
    return [
        word.strip("'") for word in re.findall(r"'[\w.]+=[^']*'|(?<!\S)[\w.]+=(?:'[^']*'|[^\s,]+)", shown)
    ]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_config_shows_to_override_can_be_overridden(path: Path) -> None:
    kind = import_module(f"llmcourse.{command_of(path).replace('-', '_')}.config").Config
    for override in shown_overrides(path):
        key, _, value = override.partition("=")
        assert load(kind, str(path), [f"{key}={value.strip(chr(39))}"])


def test_most_configs_show_an_override() -> None:
    assert len([path for path in CONFIGS if shown_overrides(path)]) > len(CONFIGS) * 0.8


def test_the_examples_in_the_help_name_configs_that_exist() -> None:
    examples = [*family_tree.EXAMPLES, *(example for _, found in COMMANDS.values() for example in found)]
    named = re.findall(r"llmcourse ([\w-]+) (\S+\.yaml)", " ".join(examples))
    ours = [ROOT / "configs" / command / name for command, name in named if len(name) > len("m.yaml")]
    assert len(ours) > 10
    assert [str(path) for path in ours if not path.is_file()] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_fits_into_a_head(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 300
    assert lines[0].startswith('"""')


def test_no_module_is_a_drawer_for_anything() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [path for path in SOURCES if path.stem in drawers] == []


def test_exit_codes_are_one_per_error() -> None:
    codes = sorted(kind.exit_code for kind in BY_NAME.values())
    assert codes == [2, 3, 4, 5, 6]


def test_no_tracked_file_names_a_registry_or_a_place_of_this_machine() -> None:
    # Written in pieces, so that this file is none of those it looks for.
    traces = re.compile(
        "|".join(["/opt/" + "wheels", "/opt/" + "pypi", "index-url" + r"[ =]", r"--extra-" + "index"])
    )
    texts = {path: path.read_bytes().decode("utf-8", "ignore") for path in tracked_files()}
    assert [str(path) for path, text in texts.items() if traces.search(text)] == []
    hosts = re.compile(r"https?://[\w.-]*(?:artifactory|nexus|jfrog|" + r"pypi|pythonhosted)[\w.-]*")
    assert {hit for text in texts.values() for hit in hosts.findall(text)} <= {"https://" + "pypi.org"}


@pytest.mark.parametrize("line", (ROOT / "constraints.txt").read_text().splitlines())
def test_a_constraint_is_a_version_and_nothing_else(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", line)
