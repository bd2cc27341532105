"""The real program on this machine; where it has no GPU, every run ends with 3 before anything is done."""

import json
import time
from pathlib import Path

import pytest

from llmcourse.core.machine import this_machine
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_exl2.builders import write_llama

without_gpu = pytest.mark.skipif(bool(this_machine().gpus), reason="this machine has a GPU")


@pytest.fixture
def begun(llmcourse: Cli, family: Family) -> Cli:
    (llmcourse.folder / "e.yaml").write_text(
        json.dumps({"model": str(family.base), "bits_per_weight": [3.0, 4.25]})
    )
    return llmcourse


@without_gpu
def test_without_a_gpu_it_ends_with_3_at_once_and_leaves_nothing(begun: Cli) -> None:
    begin = time.monotonic()
    result = begun("quantize-exl2", "e.yaml", "-o", "out")
    assert time.monotonic() - begin < 2
    assert result.exit_code == 3 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: EXL2 needs an NVIDIA GPU with CUDA, and none was found here.",
        "fix: Run it where nvidia-smi lists one; quantize-gguf and quantize-gptq work on the processor.",
    ]
    assert [path.name for path in begun.folder.iterdir()] == ["e.yaml"]


@without_gpu
def test_a_dry_run_prints_the_whole_plan_there_too(begun: Cli) -> None:
    begin = time.monotonic()
    result = begun("quantize-exl2", "e.yaml", "--dry-run", "--json", "-o", "out")
    assert time.monotonic() - begin < 2
    plan = result.json
    assert result.exit_code == plan["exit_code"] == 3
    assert plan["pieces"] == ["measurement", "3.0bpw", "4.25bpw"]
    assert "3.0bpw" in dict(plan["summary"])["results"] and plan["estimate"]["vram"] > 0
    shown = begun("quantize-exl2", "e.yaml", "-n", "-o", "out").stdout
    assert "4.25bpw" in shown and "needs an NVIDIA GPU" in shown


def test_a_wrong_config_is_told_before_a_missing_gpu(begun: Cli) -> None:
    result = begun("quantize-exl2", "e.yaml", "head_bits=7")
    assert result.exit_code == 2 and "head_bits" in result.stderr


def test_a_model_that_cannot_be_converted_is_told_beside_a_missing_gpu(llmcourse: Cli) -> None:
    folder = write_llama(llmcourse.folder / "llama")
    (folder / "tokenizer.json").unlink()
    (llmcourse.folder / "e.yaml").write_text(f"{{model: {folder}, bits_per_weight: 4}}")
    result = llmcourse("quantize-exl2", "e.yaml", "-o", "out")
    assert result.exit_code == 4 and "has no tokenizer.json" in result.stderr


def test_the_help_names_the_configs(llmcourse: Cli) -> None:
    assert "quantize-exl2 usual.yaml" in llmcourse("quantize-exl2", "--help").stdout
    assert Path("configs/quantize-exl2/usual.yaml").is_file()
