"""exllamav2 itself converts and is measured, with its CUDA kernels' arithmetic done by torch on the CPU.

What a GPU alone can show, the kernels and their memory, is in tests/gpu.
"""

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from llmcourse.core.cache import cache_folder
from llmcourse.quantize_exl2.results import model_problem
from llmcourse.testing.models import Family
from tests.quantize_exl2.builders import Ended, Program, figures, job, killed_when

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WIDTHS = [2.5, 4.25, 6.0]
CHUNKS, CONTEXT = 4, 512
ONE_WIDTH = ("bits_per_weight=3.5", "quality=null")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, family: Family) -> tuple[Program, Ended]:
    """All widths, measured, of a model whose positions only transformers 5 finds in its config.json."""
    folder = tmp_path_factory.mktemp("exl2")
    model = folder / "model"
    model.mkdir()
    for path in family.base.iterdir():
        (model / path.name).symlink_to(path)
    config = json.loads((model / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500000.0}
    (model / "config.json").unlink()
    (model / "config.json").write_text(json.dumps(config))
    (folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    (folder / "code.txt").write_text(family.eval_texts["code"], encoding="utf-8")
    wish = {
        "model": str(model),
        "bits_per_weight": WIDTHS,
        "calibration": {"text": str(folder / "code.txt"), "samples": 4, "length": 256},
        "measurement_rows": 1,
        "measurement_length": 256,
        "quality": {"text": str(folder / "held-out.txt"), "chunks": CHUNKS},
    }
    (folder / "e.yaml").write_text(json.dumps(wish))
    packages = Path(torch.__file__).parents[1]
    env = {"LLMCOURSE_CACHE": str(cache_folder().absolute()), "LLMCOURSE_TORCH": str(packages)}
    program = Program(folder, "tests.quantize_exl2.cpu_run", env)
    return program, program()


def in_a_folder_of_its_own(made: tuple[Program, Ended], folder: Path, **changes: Any) -> Program:
    """The same job with the measurement that is there."""
    program, ended = made
    assert ended.exit_code == 0, ended.stderr
    wish = json.loads((program.folder / "e.yaml").read_text())
    given = {"measurement": str(program.folder / "out" / "measurement.json")}
    (folder / "e.yaml").write_text(json.dumps(wish | given | changes))
    return replace(program, folder=folder)


def test_every_width_is_whole_and_nearer_to_the_original_with_more_bits(
    made: tuple[Program, Ended],
) -> None:
    program, ended = made
    assert ended.exit_code == 0, ended.stderr
    divergences = [found["mean_kld"] for found in figures(program.folder / "out", WIDTHS)]
    assert divergences == sorted(divergences, reverse=True) and 0 < divergences[-1] < 0.001
    sizes = [(program.folder / f"out/{bits}bpw/output.safetensors").stat().st_size for bits in WIDTHS]
    assert sizes == sorted(sizes)
    rights = (program.folder / "out" / "README.md").stat().st_mode
    assert {path.stat().st_mode for path in (program.folder / "out" / "2.5bpw").iterdir()} == {rights}
    about = [file.get("about", {}) for file in ended.document["files"]]
    said = {
        found["bits_per_weight"]: found["calibration_perplexity"] for found in about if "head_bits" in found
    }
    assert list(said) == WIDTHS and all(1 < perplexity < 1000 for perplexity in said.values())


def test_its_stages_are_steps_with_progress(made: tuple[Program, Ended]) -> None:
    _, ended = made
    measuring = ["tokenizing", "embeddings", "measuring"]
    quantizing = ["optimizing", "tokenizing", "embeddings", "quantizing", "compiling"]
    wanted = {"measure": measuring} | {f"{bits}bpw": quantizing for bits in WIDTHS}
    of_the_converter = [step for step in ended.steps if ": " in step]
    assert of_the_converter == [f"{name}: {stage}" for name in wanted for stage in wanted[name]]


def test_the_original_predicts_what_it_predicts_in_transformers(made: tuple[Program, Ended]) -> None:
    """Only where its positions are read as they are meant, and no token sees those after it."""
    program, _ = made
    model = AutoModelForCausalLM.from_pretrained(program.folder / "model", dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(program.folder / "model" / "tokenizer.json"))
    text = (program.folder / "held-out.txt").read_text(encoding="utf-8")
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids[: CHUNKS * CONTEXT])
    windows = torch.from_numpy(ids).view(CHUNKS, CONTEXT)
    with torch.inference_mode():
        logits = model(input_ids=windows).logits[:, CONTEXT // 2 : -1]
    scored = windows[:, CONTEXT // 2 + 1 :]
    nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), scored.flatten())
    found = figures(program.folder / "out", WIDTHS)[0]
    assert found["base_perplexity"] == pytest.approx(math.exp(nll.item()), rel=1e-3)
    assert found["tokens"] == scored.numel()


def test_a_killed_quantization_goes_on_with_the_converter_s_own_job_to_the_same_bytes(
    made: tuple[Program, Ended], tmp_path: Path
) -> None:
    program = in_a_folder_of_its_own(made, tmp_path)
    killed_when(
        program,
        lambda: job(program, "3.5bpw").get("progress") == "quant",
        signal.SIGKILL,
        "e.yaml",
        *ONE_WIDTH,
    )
    ended = program("e.yaml", *ONE_WIDTH)
    assert ended.exit_code == 0, ended.stderr
    assert "Resuming job" in ended.stderr and not [step for step in ended.steps if "measuring" in step]
    whole = program("e.yaml", *ONE_WIDTH, output="at-once")
    assert "Resuming job" not in whole.stderr
    first, second = (tmp_path / out / "3.5bpw" for out in ("out", "at-once"))
    assert model_problem(first, 3.5, 6) is None
    assert (first / "output.safetensors").read_bytes() == (second / "output.safetensors").read_bytes()


def test_an_interrupt_ends_it_though_it_would_ask_first(made: tuple[Program, Ended], tmp_path: Path) -> None:
    program = in_a_folder_of_its_own(made, tmp_path, measurement=None)

    def is_measuring() -> bool:
        return job(program, "measurement").get("progress") == "measure_quant"

    assert killed_when(program, is_measuring, signal.SIGINT, "e.yaml", *ONE_WIDTH) == 130
    assert program.staging.exists() and not (tmp_path / "out").exists()


def test_too_little_text_is_told_in_its_own_words(made: tuple[Program, Ended], tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("ab" * 600)  # bytes enough for the plan, and few tokens
    calibration = {"text": "short.txt", "samples": 4, "length": 256}
    program = in_a_folder_of_its_own(made, tmp_path, calibration=calibration, measurement=None)
    ended = program("e.yaml", *ONE_WIDTH)
    assert ended.exit_code == 4, ended.stderr
    assert ended.sentences.startswith("The calibration text is too short (")


def test_a_text_that_is_too_short_for_one_window_is_refused(
    made: tuple[Program, Ended], tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("few words " * 60)
    program = in_a_folder_of_its_own(made, tmp_path, quality={"text": "short.txt"}, bits_per_weight=[3.5])
    ended = program()
    assert ended.exit_code == 4, ended.stderr
    assert "has fewer than 512 tokens" in ended.sentences
