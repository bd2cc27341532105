"""Success is judged by the files, since the converter exits with 0 after some errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.quantize_exl2.failures import failure_of, is_telling
from llmcourse.quantize_exl2.results import measurement_problem, model_problem
from tests.quantize_exl2.stand_in_converter import safetensors

GOOD = {"quant_method": "exl2", "bits": 4.25, "head_bits": 6}


def result(folder: Path, stated: dict[str, Any] = GOOD, **files: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"quantization_config": stated}))
    for name, content in (files or {"output": safetensors({"lm_head.q_weight": 9})}).items():
        (folder / f"{name.replace('_of_', '-of-').replace('output_', 'output-')}.safetensors").write_bytes(
            content
        )
    return folder


HEAD, BODY = safetensors({"lm_head.q_weight": 9}), safetensors({"model.layers.0.q_weight": 9})
CASES: list[tuple[dict[str, Any], dict[str, bytes], str | None]] = [
    (GOOD, {}, None),
    (GOOD, {"output_00001_of_00002": BODY, "output_00002_of_00002": HEAD}, None),
    (GOOD, {"output_00001_of_00002": HEAD}, "not complete"),
    (GOOD, {"output_00002_of_00002": HEAD}, "not complete"),
    (GOOD, {"output_temp_1": HEAD}, "not complete"),
    (GOOD, {"output": HEAD[:-1]}, "damaged"),
    (GOOD, {"output": HEAD[:20]}, "damaged"),
    (GOOD, {"output": BODY}, "no quantized output layer"),
    (GOOD | {"bits": 4.0}, {}, "4.0 bits"),
    (GOOD | {"head_bits": 8}, {}, "8 of the head"),
    (GOOD | {"quant_method": "gptq"}, {}, "says exl2"),
]


@pytest.mark.parametrize(("stated", "files", "problem"), CASES)
def test_a_result_is_whole_or_it_is_said_why_not(
    tmp_path: Path, stated: dict[str, Any], files: dict[str, bytes], problem: str | None
) -> None:
    found = model_problem(result(tmp_path / "made", stated, **files), 4.25, 6)
    assert found is None if problem is None else problem in str(found)


def test_a_folder_that_is_not_there_is_no_result(tmp_path: Path) -> None:
    assert model_problem(tmp_path / "none", 4.25, 6)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"measurement": {"model.layers.0.mlp": [1], "model.layers.1.mlp": [1]}, "last_module_idx": 5}, None),
        ({"measurement": {"model.layers.0.mlp": [1]}, "last_module_idx": 5}, "1 layers, and this one has 2"),
        ({"measurement": {"model.norm.norm": None}, "last_module_idx": 5}, "no measured layers"),
        ({"last_module_idx": 5}, "is no measurement"),
        ('{"measurement": {"model.la', "is no measurement"),
    ],
)
def test_a_measurement_is_of_this_model_or_it_is_said_why_not(
    tmp_path: Path, written: Any, problem: str | None
) -> None:
    path = tmp_path / "m.json"
    path.write_text(written if isinstance(written, str) else json.dumps(written))
    found = measurement_problem(path, 2)
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize(
    ("line", "kind", "what"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", PlanError, "memory"),
        (" ** Warning: Not enough sample data in c4.parquet", PlanError, "too short"),
        (" ## Measurement/inference error (3): q", LibraryError, "overflow in float16"),
        ("RuntimeError: Found no NVIDIA driver on your system.", LibraryError, "cannot use the GPU"),
        ("SafetensorError: I/O error: No space left on device (os error 28)", PlanError, "disk is full"),
        (" ## Quantization error (2)", LibraryError, "Quantization error (2)"),
    ],
)
def test_its_last_words_become_two_sentences(line: str, kind: type[Exception], what: str) -> None:
    assert is_telling(line)
    error = failure_of("4.25bpw", 1, [line.strip()], "no files")
    assert isinstance(error, kind) and what in error.what and error.fix


def test_a_usual_line_says_nothing() -> None:
    for line in (
        " -- Layer: model.layers.0 (MLP)",
        " !! Warning, difference of (0.01, 0.01)",
        " ## Warning: old",
        "CTRL-C: no",
    ):
        assert not is_telling(line)


def test_a_silent_end_is_told_by_what_is_missing() -> None:
    assert "its weights are not complete" in failure_of("x", 0, [], "its weights are not complete").what
    assert "killed" in failure_of("x", -9, [], "none").what
