"""Real lm-eval on real tiny models: the same figures, the better model wins, failures are loud."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmcourse.autoeval.results import TaskResult, result_path
from llmcourse.testing.models import Family, build_random_llama
from llmcourse.testing.plugin import Cli, Result
from tests.autoeval.builders import read_json

_DIRECTLY = """
import json, sys
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
model, folder, limit, *tasks = sys.argv[1:]
limit = int(limit)
manager = TaskManager(include_path=folder, include_defaults=False)
found = {}
for task in tasks:
    found |= simple_evaluate(model="hf", model_args={"pretrained": model, "dtype": "float32"}, tasks=[task],
        device="cpu", batch_size=4, limit=limit, task_manager=manager)["results"]
print("FIGURES" + json.dumps(found, default=str))
"""
TASKS = ("tiny_continuation", "tiny_word", "tiny_text", "tiny_written_word")
LIMIT = 24
# Processors without 16-bit products take minutes for all samples in them.
RUNTIME = f"runtime: {{dtype: float32, limit: {LIMIT}}}\n"


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory, family: Family) -> Path:
    return build_random_llama(tmp_path_factory.mktemp("models") / "random", tokenizer_from=family.base)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    folder = tmp_path_factory.mktemp("cli")
    return Cli(folder, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf-home")})


@pytest.fixture(scope="module")
def made(cli: Cli, family: Family, random_model: Path) -> Result:
    """Two models on four tasks of each kind, answers kept."""
    models = json.dumps([str(family.base), str(random_model)])
    (cli.folder / "e.yaml").write_text(
        f"model: {models}\ntasks: {json.dumps(TASKS)}\nsamples: true\n{RUNTIME}"
    )
    return cli("autoeval", "e.yaml", "-o", "out", "--json")


def result(cli: Cli, model: str, task: str, folder: str = "out") -> TaskResult:
    return TaskResult.read(cli.folder / folder / result_path(model, task))


def test_it_ends_well_and_leaves_nothing_beside_the_result(cli: Cli, made: Result) -> None:
    assert made.exit_code == 0, made.stderr
    assert {path.name for path in cli.folder.iterdir()} - {"hf-home"} == {"e.yaml", "out"}
    names = {path.name for path in (cli.folder / "out").iterdir()}
    assert names == {
        "README.md", "llmcourse.json", "results.json", "samples", "scores.png", "summary.md", "tasks",
    }  # fmt: skip


def test_figures_are_those_of_lm_eval_to_the_last_digit(cli: Cli, made: Result, family: Family) -> None:
    from llmcourse.autoeval.catalog import OWN_TASKS

    command = [sys.executable, "-c", _DIRECTLY, str(family.base), str(OWN_TASKS), str(LIMIT), *TASKS]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    directly = json.loads(answer.partition("FIGURES")[2])
    for task in TASKS:
        ours = result(cli, "base", task)
        figures = {key: value for key, value in directly[task].items() if "," in key and value != "N/A"}
        assert ours.metrics == {key: value for key, value in figures.items() if "_stderr" not in key}
        assert ours.stderr == {
            key.replace("_stderr", ""): value for key, value in figures.items() if "_stderr" in key
        }
        assert (ours.version, ours.fewshot, ours.samples) == ("1.0", 0, directly[task]["sample_len"])


def test_the_trained_model_wins(cli: Cli, made: Result) -> None:
    for task, metric in (("tiny_continuation", "acc,none"), ("tiny_word", "acc,none")):
        trained, untrained = (result(cli, name, task).metrics[metric] for name in ("base", "random"))
        assert trained > untrained + 0.15
    texts = [result(cli, name, "tiny_text").metrics["bits_per_byte,none"] for name in ("base", "random")]
    assert texts[0] < texts[1] - 0.5


def test_data_are_loaded_once_for_all_models(made: Result) -> None:
    assert [made.stderr.count(f"load {task}:") for task in TASKS] == [1, 1, 1, 1]
    assert "load base:" in made.stderr and "load random:" in made.stderr


def test_answers_are_kept_where_they_are_asked_for(cli: Cli, made: Result) -> None:
    rows = (cli.folder / "out" / "samples" / "base" / "tiny_word.jsonl").read_text().splitlines()
    assert len(rows) == LIMIT and json.loads(rows[0])["doc"]["word"]


def test_the_report_is_in_the_folder(cli: Cli, made: Result) -> None:
    summary = (cli.folder / "out" / "summary.md").read_text()
    assert summary.splitlines()[2].startswith("|base ") and "Suite tasks@1, lm-eval 0.4.13" in summary
    data = read_json(cli.folder / "out" / "results.json")
    assert data["models"]["base"]["tasks"]["tiny_word"]["metrics"] == result(cli, "base", "tiny_word").metrics
    assert (cli.folder / "out" / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert str(cli.folder) not in "".join(
        path.read_text() for path in (cli.folder / "out").rglob("*") if path.suffix in (".md", ".json")
    )


def test_the_same_again_is_done_already(cli: Cli, made: Result) -> None:
    again = cli("autoeval", "e.yaml", "-o", "out", "--json")
    assert again.exit_code == 0 and again.json["cached"] is True


@pytest.fixture(scope="module")
def partly(cli: Cli, family: Family, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A suite of which one task's data cannot be had without a network, also on a model of no numbers."""
    suite = (
        "name: mine\ngroups:\n- {name: Words, metric: [acc], tasks: [{name: tiny_word}]}\n"
        "- {name: ARC, tasks: [{name: arc_easy}]}\n"
    )
    broken = _copy_with_nan(family.base, tmp_path_factory.mktemp("models") / "broken")
    (cli.folder / "mine.yaml").write_text(suite)
    (cli.folder / "p.yaml").write_text(f"model: [{family.base}, {broken}]\nsuite: mine.yaml\n{RUNTIME}")
    return cli("autoeval", "p.yaml", "-o", "partly", env={"HF_HUB_OFFLINE": "1"})


def words(cli: Cli) -> str:
    """The figure of what is finished, as tables have it."""
    return f" {100 * result(cli, 'base', 'tiny_word', 'partly').metrics['acc,none']:.2f}|"


def test_a_failed_task_is_loud_and_what_is_finished_is_kept(cli: Cli, partly: Result) -> None:
    assert partly.exit_code == 5
    assert "3 of 4 tasks failed: base on arc_easy" in partly.stderr
    table = (cli.folder / "partly" / "summary.md").read_text().splitlines()[2]
    assert "failed: arc_easy: " in table and words(cli) in table and table.endswith("|       |")
    assert "Average score: not available" in (cli.folder / "partly" / "summary.md").read_text()
    assert "failed" in (cli.folder / "partly" / "README.md").read_text()
    assert result(cli, "base", "arc_easy", "partly").error


def test_a_model_of_no_numbers_fails_and_has_no_score_by_chance(cli: Cli, partly: Result) -> None:
    assert "the model computes no numbers (NaN)" in result(cli, "broken", "tiny_word", "partly").error


def test_the_same_command_tries_only_what_failed(cli: Cli, partly: Result) -> None:
    again = cli("autoeval", "p.yaml", "-o", "partly", env={"HF_HUB_OFFLINE": "1"})
    assert again.exit_code == 5 and "base 1/1 arc_easy" not in again.stderr
    assert "load base:" in again.stderr and "base 2/2 tiny_word" not in again.stderr
    assert words(cli) in (cli.folder / "partly" / "summary.md").read_text()


def _copy_with_nan(model: Path, folder: Path) -> Path:
    import torch
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], torch.nan)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_a_killed_run_goes_on_at_the_next_task(cli: Cli, made: Result, family: Family) -> None:
    (cli.folder / "k.yaml").write_text(f"model: {family.base}\ntasks: {json.dumps(TASKS)}\n{RUNTIME}")
    process = cli.start("autoeval", "k.yaml", "-o", "killed")
    first = cli.folder / ".killed.llmcourse" / "files" / result_path("base", TASKS[0])
    deadline = time.monotonic() + 120
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = cli("autoeval", "k.yaml", "-o", "killed")
    assert again.exit_code == 0, again.stderr
    assert TASKS[0] not in again.stderr and TASKS[3] in again.stderr
    for task in TASKS:
        assert result(cli, "base", task, "killed").metrics == result(cli, "base", task).metrics
