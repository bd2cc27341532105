"""The command line as users and scripts meet it: a real process, its streams and its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse import __version__
from llmcourse.cli import COMMANDS
from llmcourse.testing.plugin import Cli, Result
from tests.model_folders import write_model

RECIPE = """\
models:
  - {model: ./a, parameters: {weight: 0.5}}
  - {model: ./b, parameters: {weight: 0.5}}
merge_method: linear
"""


@pytest.fixture
def models(llmcourse: Cli) -> Path:
    """Two models and a recipe for them in the folder where the program runs."""
    for name in ("a", "b"):
        write_model(llmcourse.folder / name, card="---\nlicense: mit\n---\n")
    (llmcourse.folder / "m.yaml").write_text(RECIPE)
    return llmcourse.folder


def last_lines(result: Result) -> list[str]:
    return result.stderr.splitlines()[-2:]


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(llmcourse: Cli, flag: str) -> None:
    result = llmcourse(flag)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(name in result.stdout for name in COMMANDS)


def test_no_arguments_show_the_help(llmcourse: Cli) -> None:
    result = llmcourse()
    assert "Usage: " in result.stdout + result.stderr
    assert "merge" in result.stdout + result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_s_help_has_examples(llmcourse: Cli, command: str) -> None:
    result = llmcourse(command, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Examples:" in result.stdout
    assert all(example in " ".join(result.stdout.split()) for example in COMMANDS[command][1])


def test_the_version_is_that_of_the_package(llmcourse: Cli) -> None:
    result = llmcourse("--version")
    first, *libraries = result.stdout.splitlines()
    assert (result.exit_code, first) == (0, f"llmcourse {__version__}")
    assert "mergekit 0.1.5" in libraries and not any(line.startswith("pytest") for line in libraries)


def test_the_installed_program_is_the_module() -> None:
    program = Path(sys.executable).with_name("llmcourse")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"llmcourse {__version__}"


def test_a_misspelt_command_is_corrected(llmcourse: Cli) -> None:
    result = llmcourse("mereg", "m.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'merge'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "fix"),
    [
        (["gone"], "error: There is no file 'gone'.", "fix: Check the path."),
        (["m.yml"], "There is no file 'm.yml'.", "fix: Did you mean m.yaml?"),
        (
            ["typo.yaml"],
            "error: typo.yaml:1:1: 'merge_metod' is not a known key.",
            "Did you mean 'merge_method'?",
        ),
        (["m.yaml", "dtype="], "The override 'dtype=' has no value.", "fix: For none write dtype=null."),
        (
            ["m.yaml", "--push", "me/x", "--no-push"],
            "error: --push and --no-push exclude each other.",
            "fix: Keep one of them.",
        ),
        (
            ["m.yaml", "--progress", "loud"],
            "error: --progress 'loud' is not known.",
            "fix: Use auto, plain, json or none.",
        ),
    ],
)
def test_wrong_usage_ends_with_2_and_two_sentences(
    llmcourse: Cli, models: Path, arguments: list[str], error: str, fix: str
) -> None:
    (models / "typo.yaml").write_text("merge_metod: linear\nmodels: [{model: ./a}]\nmerge_method: linear\n")
    result = llmcourse("merge", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in last_lines(result)[0]
    assert fix in last_lines(result)[1]


def test_an_option_that_is_none_ends_with_2(llmcourse: Cli) -> None:
    result = llmcourse("merge", "m.yaml", "--puhs")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--push" in result.stderr


def test_a_missing_local_model_ends_with_4(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "models.0.model=./gone")
    assert (result.exit_code, result.stdout) == (4, "")
    assert last_lines(result) == [
        "error: There is no model folder './gone'.",
        f"fix: Check the path; it was looked for at {models / 'gone'}.",
    ]


def test_a_hub_that_is_not_reached_ends_with_4(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "models.0.model=org/name", env={"HF_HUB_OFFLINE": "1"})
    assert (result.exit_code, result.stdout) == (4, "")
    assert last_lines(result)[0].startswith("error: org/name is not in the local cache")
    assert last_lines(result)[1].startswith("fix: ")


def test_every_problem_of_a_plan_is_printed_and_nothing_is_left_behind(llmcourse: Cli, models: Path) -> None:
    before = sorted(path.name for path in models.iterdir())
    result = llmcourse("merge", "m.yaml", "models.0.model=./gone", "dtype=bf16", "-o", "out")
    assert result.exit_code == 2
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        "error: dtype 'bf16' is not known.",
        "error: There is no model folder './gone'.",
    ]
    assert sorted(path.name for path in models.iterdir()) == before


def test_an_output_that_the_file_system_refuses_ends_with_4(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "-o", "m.yaml/out")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "m.yaml is no folder you may write to." in last_lines(result)[0]
    assert last_lines(result)[1] == "fix: Choose a folder of yours with -o."


def test_a_dry_run_prints_the_plan_and_makes_nothing(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "--dry-run", "-o", "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "✓ merge_method: Linear, 2 models" in result.stdout
    assert not (models / "out").exists()


def test_a_dry_run_ends_as_the_run_would(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "-n", "dtype=bf16")
    assert (result.exit_code, result.stderr) == (2, "")
    assert "✗ dtype: dtype 'bf16' is not known." in result.stdout


@pytest.mark.parametrize(("override", "code"), [("dtype=float16", 0), ("dtype=bf16", 2)])
def test_a_dry_run_with_json_is_one_document(llmcourse: Cli, models: Path, override: str, code: int) -> None:
    result = llmcourse("merge", "m.yaml", override, "--dry-run", "--json")
    assert (result.exit_code, result.stderr) == (code, "")
    assert (result.json["command"], result.json["exit_code"]) == ("merge", code)


@pytest.mark.parametrize(("argument", "code"), [("dtype=bf16", 2), ("dtyp=float16", 2)])
def test_a_failure_with_json_is_one_document_too(
    llmcourse: Cli, models: Path, argument: str, code: int
) -> None:
    result = llmcourse("merge", "m.yaml", argument, "--json")
    assert result.exit_code == code
    error = result.json["error"]
    assert error["exit_code"] == code
    assert last_lines(result)[1] == f"fix: {error['fix']}"


@pytest.mark.parametrize("arguments", [["--dry-run"], ["dtype=bf16"], ["dtype=bf16", "--progress", "json"]])
def test_a_pipe_gets_no_colour(llmcourse: Cli, models: Path, arguments: list[str]) -> None:
    result = llmcourse("merge", "m.yaml", *arguments)
    assert "\x1b" not in result.stdout + result.stderr


def test_quiet_errors_are_still_said(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "m.yaml", "dtype=bf16", "-q")
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2


def test_a_config_may_come_from_stdin(llmcourse: Cli, models: Path) -> None:
    result = llmcourse("merge", "-", "--dry-run", "--json", stdin=RECIPE)
    assert result.exit_code == 0
    assert dict(result.json["summary"])["method"] == "Linear"


def test_an_error_in_stdin_is_placed_there(llmcourse: Cli) -> None:
    result = llmcourse("merge", "-", stdin="merge_metod: x\nmodels: [{model: a/b}]\nmerge_method: ties\n")
    assert result.exit_code == 2
    assert "stdin:1:1: 'merge_metod' is not a known key." in result.stderr


def test_a_reader_that_leaves_early_is_no_error(llmcourse: Cli, models: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "llmcourse", "merge", "m.yaml", "--dry-run", "--json"],
        cwd=models, env=os.environ | llmcourse.env, stdout=write_end, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_cli_loads_no_library_before_a_command_runs() -> None:
    heavy = {"pydantic", "rich", "huggingface_hub", "torch", "transformers", "mergekit", "yaml", "jinja2"}
    code = "import sys, llmcourse.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def test_an_unknown_option_with_json_is_one_document(llmcourse: Cli) -> None:
    result = llmcourse("merge", "m.yaml", "--json", "--nope")
    assert result.exit_code == 2 and "No such option: --nope" in result.stderr
    assert result.json["error"]["exit_code"] == 2


def test_an_interrupt_within_an_exec_ends_with_130_too(tmp_path: Path) -> None:
    """As of a dataclass that is being made: CPython remembers that, and would end by the signal itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'yaml':\n"
        "            exec('raise KeyboardInterrupt')\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "llmcourse", "merge", "m.yaml"]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True)
    assert ended.returncode == 130
