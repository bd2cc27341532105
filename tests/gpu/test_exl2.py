"""EXL2 on a CUDA device: `pytest -m gpu -s tests/gpu/test_exl2.py` prints its figures.

Needs torch with CUDA, nvcc of the same CUDA and ninja in this Python; wheels that are missing (exllamav2,
pandas, fastparquet, …) are taken from the folder $LLMCOURSE_WHEELS.  The first run compiles the extension.
"""

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.quantize_exl2.builders import Ended, Program, figures

from llmcourse.core.cache import cache_folder
from llmcourse.core.machine import this_machine
from llmcourse.quantize_exl2.results import model_problem
from llmcourse.testing.models import Family

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not this_machine().gpus, reason="no CUDA device on this machine"),
]
WIDTHS = [2.5, 4.25, 6.0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, family: Family) -> tuple[Program, Ended, float]:
    """All widths of the tiny model, measured; the extension is kept in the user's own cache."""
    folder = tmp_path_factory.mktemp("exl2")
    (folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    wish = {
        "model": str(family.base),
        "bits_per_weight": WIDTHS,
        "quality": {"text": "held-out.txt", "chunks": 16},
    }
    (folder / "e.yaml").write_text(json.dumps(wish))
    env = {"LLMCOURSE_CACHE": str(cache_folder().absolute())}
    env |= {name: os.environ[name] for name in ("LLMCOURSE_WHEELS",) if name in os.environ}
    program = Program(folder, "tests.quantize_exl2.present_run", env)
    begin = time.monotonic()
    ended = program()
    return program, ended, time.monotonic() - begin


def test_every_width_is_whole_and_nearer_to_the_original_with_more_bits(
    made: tuple[Program, Ended, float],
) -> None:
    program, ended, seconds = made
    assert ended.exit_code == 0, ended.stderr
    out = program.folder / "out"
    measured = figures(out, WIDTHS)
    lines = [f"GPU: {this_machine().gpus[0].name}; all in {seconds:.0f} s"]
    for bits, found in zip(WIDTHS, measured, strict=True):
        size = (out / f"{bits}bpw" / "output.safetensors").stat().st_size
        lines.append(f"{bits}bpw: {size} bytes, perplexity {found['perplexity']:.4f} (original "
                     f"{found['base_perplexity']:.4f}), KL divergence {found['mean_kld']:.3e}")  # fmt: skip
    print("\n".join(["", *lines]))  # noqa: T201
    divergences = [found["mean_kld"] for found in measured]
    assert divergences == sorted(divergences, reverse=True) and divergences[-1] < 0.1


def test_the_measurement_is_of_use_again(made: tuple[Program, Ended, float]) -> None:
    program, ended, _ = made
    assert ended.exit_code == 0, ended.stderr
    again = program(
        "e.yaml", "measurement=out/measurement.json", "bits_per_weight=5", "quality=null", output="o5"
    )
    assert again.exit_code == 0, again.stderr
    assert not [step for step in again.steps if "measuring" in step]
    assert model_problem(program.folder / "o5" / "5.0bpw", 5.0, 6) is None


def test_a_killed_run_goes_on_with_the_converter_s_own_job(
    made: tuple[Program, Ended, float], tmp_path: Path
) -> None:
    program = replace(made[0], folder=tmp_path)
    (tmp_path / "e.yaml").write_text((made[0].folder / "e.yaml").read_text())
    process = program.start("e.yaml", "bits_per_weight=3.5", "quality=null")
    job = program.staging / "scratch" / "work" / "measurement" / "job_new.json"
    deadline = time.monotonic() + 300
    while not (job.is_file() and '"measure_quant"' in job.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ended = program("e.yaml", "bits_per_weight=3.5", "quality=null")
    assert ended.exit_code == 0, ended.stderr
    assert "Resuming job" in ended.stderr
    assert model_problem(tmp_path / "out" / "3.5bpw", 3.5, 6) is None
