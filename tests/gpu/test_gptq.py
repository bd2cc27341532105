"""GPTQ and AWQ on a CUDA device: `pytest -m gpu -s tests/gpu/test_gptq.py` prints its figures."""

import json
from pathlib import Path

import pytest

from llmcourse.core.machine import this_machine
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not this_machine().gpus, reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_checkpoint_made_on_the_gpu_is_near_the_original(
    method: str, llmcourse: Cli, family: Family, tmp_path: Path
) -> None:
    for name, part in (("calibration.txt", slice(0, 40_000)), ("held-out.txt", slice(40_000, 60_000))):
        (tmp_path / name).write_text("".join(text[part] for text in family.eval_texts.values()))
    config = {
        "model": str(family.base),
        "method": method,
        "calibration": {"text": "calibration.txt", "samples": 32, "length": 256},
        "quality": {"text": "held-out.txt", "chunks": 8},
    }
    (tmp_path / "g.yaml").write_text(json.dumps(config))
    made = llmcourse("quantize-gptq", "g.yaml", "-o", "out", "--json")
    assert made.exit_code == 0, made.stderr
    assert made.json["details"]["device"] == "cuda"
    figures = json.loads((tmp_path / "out" / "quality.json").read_text())
    print(  # noqa: T201
        f"\n{method} on {this_machine().gpus[0].name}: KL {figures['mean_kld']:.3g}, perplexity "
        f"{figures['perplexity']:.4f} ({figures['base_perplexity']:.4f}), {made.json['timings_s']}"
    )
    assert 0 < figures["mean_kld"] < 3e-3
