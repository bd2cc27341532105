"""Quantizing with auto-gptq on a CUDA device: `pytest -m gpu -s`, which prints the figures.

Where there is no network, $PIP_FIND_LINKS names a folder with the packages (of auto-gptq the source, and
setuptools to build it), $PIP_NO_INDEX is 1, and $LLMCOURSE_TORCH is a site-packages with a torch for CUDA.
"""

import json
import time
from pathlib import Path

import pytest
from tests.quantize_gptq.test_auto_gptq import SETTINGS, prompt_of, windows_of

from llmcourse.core.artifact import sha256_of
from llmcourse.core.machine import this_machine
from llmcourse.core.progress import Progress
from llmcourse.quantize_gptq import auto_gptq
from llmcourse.testing.models import Family

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not this_machine().gpus, reason="no CUDA device on this machine"),
]
SILENT = Progress(lambda event: None)


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    start = time.monotonic()
    auto_gptq.environment().prepare(SILENT)
    print(f"\nauto-gptq: environment ready after {time.monotonic() - start:.1f} s")  # noqa: T201


def test_fewer_bits_cost_more_and_every_checkpoint_is_read_back(family: Family, tmp_path: Path) -> None:
    calibration = windows_of(family, "code", 32, 256, tmp_path / "calibration.npy")
    held_out = windows_of(family, "prose", 16, 256, tmp_path / "held-out.npy")
    errors, likelihoods = [], []
    for bits in (8, 4, 3, 2):
        output = tmp_path / f"{bits}-bit"
        with (tmp_path / "log").open("wb") as log:
            made = auto_gptq.quantize(
                SETTINGS | {"bits": bits}, calibration, family.base, output, SILENT, log
            )
            read = auto_gptq.read(output, held_out, SILENT, log, prompt=prompt_of(held_out))
        errors.append(sum(loss["loss"] for loss in made["losses"]))
        likelihoods.append(read["nll"])
        size = (output / "model.safetensors").stat().st_size
        print(  # noqa: T201
            f"auto-gptq {bits} bits: {made['seconds']:.1f} s, {size:,} bytes, error {errors[-1]:.4g}, "
            f"{read['nll']:.5f} nats per token, {made['versions']}"
        )
        written = json.loads((output / "config.json").read_text())["quantization_config"]
        assert (written["bits"], written["checkpoint_format"]) == (bits, "gptq")
        assert len(read["continuation"]) > 0
    assert errors == sorted(errors)
    assert likelihoods[1] == pytest.approx(likelihoods[0], abs=0.05)


@pytest.mark.parametrize(
    "changed",
    [{"desc_act": True}, {"symmetric": False}, {"group_size": 64}, {"damp_percent": 0.1}],
    ids=lambda changed: next(iter(changed)),
)
def test_every_setting_makes_another_checkpoint(
    changed: dict[str, float], family: Family, tmp_path: Path
) -> None:
    calibration = windows_of(family, "code", 8, 128, tmp_path / "calibration.npy")
    made: list[str] = []
    for settings in (SETTINGS, SETTINGS | changed):
        output = tmp_path / str(len(made))
        with (tmp_path / "log").open("wb") as log:
            auto_gptq.quantize(settings, calibration, family.base, output, SILENT, log)
        made.append(sha256_of(output / "model.safetensors"))
    assert made[0] != made[1]
