"""GGUF and GPTQ models, and Ray: the same figures by other ways."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from llmcourse.autoeval.results import TaskResult, result_path
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli

TASKS = ("tiny_continuation", "tiny_word", "tiny_text", "tiny_written_word")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    folder = tmp_path_factory.mktemp("cli")
    return Cli(folder, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf-home")})


def evaluated(cli: Cli, name: str, models: list[Path], more: str = "") -> dict[str, dict[str, TaskResult]]:
    (cli.folder / f"{name}.yaml").write_text(
        f"model: {json.dumps([str(model) for model in models])}\ntasks: {json.dumps(TASKS)}\n{more}"
    )
    made = cli("autoeval", f"{name}.yaml", "-o", name, "--json")
    assert made.exit_code == 0, made.stderr
    names = [found["name"] for found in made.json["details"]["models"]]
    folder = cli.folder / name
    return {
        model: {task: TaskResult.read(folder / result_path(model, task)) for task in TASKS} for model in names
    }


@pytest.fixture(scope="module")
def local(cli: Cli, family: Family) -> dict[str, dict[str, TaskResult]]:
    return evaluated(cli, "local", [family.base, family.code])


def test_a_gguf_file_of_32_bits_has_the_original_s_figures(
    cli: Cli, family: Family, local: dict[str, dict[str, TaskResult]]
) -> None:
    (cli.folder / "g.yaml").write_text(f"model: {family.base}\ntypes: [F32, Q4_0]\n")
    made = cli("quantize-gguf", "g.yaml", "-o", "gguf")
    assert made.exit_code == 0, made.stderr
    files = [cli.folder / "gguf" / f"base.{name}.gguf" for name in ("F32", "Q4_0")]
    found = evaluated(cli, "on-gguf", files)
    exact, coarse = found["base.F32.gguf"], found["base.Q4_0.gguf"]
    bits = local["base"]["tiny_text"].metrics["bits_per_byte,none"]
    assert exact["tiny_text"].metrics["bits_per_byte,none"] == pytest.approx(bits, rel=2e-3)
    assert coarse["tiny_text"].metrics["bits_per_byte,none"] == pytest.approx(bits, rel=5e-2)
    for task in TASKS:
        assert exact[task].samples == local["base"][task].samples
    for task, metric in (("tiny_continuation", "acc,none"), ("tiny_word", "acc,none")):
        assert exact[task].metrics[metric] == pytest.approx(local["base"][task].metrics[metric], abs=0.03)
    written = "exact_match,first-word"
    assert exact["tiny_written_word"].metrics[written] == pytest.approx(
        local["base"]["tiny_written_word"].metrics[written], abs=0.03
    )


def test_a_gptq_checkpoint_is_run_by_gptqmodel(
    cli: Cli, family: Family, local: dict[str, dict[str, TaskResult]]
) -> None:
    (cli.folder / "text.txt").write_text(family.eval_texts["prose"])
    (cli.folder / "q.yaml").write_text(
        f"model: {family.base}\nbits: 4\ngroup_size: 64\n"
        "calibration: {text: text.txt, samples: 8, length: 256}\n"
    )
    made = cli("quantize-gptq", "q.yaml", "-o", "gptq")
    assert made.exit_code == 0, made.stderr
    found = evaluated(cli, "on-gptq", [cli.folder / "gptq"])["gptq"]
    bits = local["base"]["tiny_text"].metrics["bits_per_byte,none"]
    assert found["tiny_text"].metrics["bits_per_byte,none"] == pytest.approx(bits, rel=5e-2)
    assert found["tiny_continuation"].metrics["acc,none"] > 0.6


def test_ray_has_the_same_figures_and_a_killed_worker_is_replaced(
    cli: Cli, family: Family, local: dict[str, dict[str, TaskResult]]
) -> None:
    models = json.dumps([str(family.base), str(family.code)])
    (cli.folder / "ray.yaml").write_text(
        f"model: {models}\ntasks: {json.dumps(TASKS)}\nengine: ray\nray: {{workers: 2}}\n"
    )
    process = cli.start("autoeval", "ray.yaml", "-o", "on-ray")
    _kill_a_worker(process.pid)
    _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    for model in ("base", "code"):
        for task in TASKS:
            found = TaskResult.read(cli.folder / "on-ray" / result_path(model, task))
            assert found.metrics == local[model][task].metrics


def _kill_a_worker(pid: int) -> None:
    """As the out-of-memory killer would, while it evaluates."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in psutil.Process(pid).children(recursive=True):
            try:
                is_busy = "ray::_group" in " ".join(child.cmdline())
            except psutil.Error:
                continue
            if is_busy:
                time.sleep(2)
                child.send_signal(signal.SIGKILL)
                return
        time.sleep(0.2)
    raise AssertionError("no worker began")
