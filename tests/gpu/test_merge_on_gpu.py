"""Merging on a CUDA device: `pytest -m gpu`."""

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_configs import tiny_configs

from llmcourse.core.machine import this_machine
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Cli, as_user

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not this_machine().gpus, reason="no CUDA device on this machine"),
]
CONFIGS = tiny_configs("merge")


@pytest.mark.parametrize("name", ["linear", "slerp", "task_arithmetic"])
def test_the_gpu_profile_makes_what_the_cpu_makes(name: str, llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    """Sums are ordered otherwise on a GPU, so the last bit of bfloat16 may differ."""
    alice = as_user(llmcourse, demo_hub)
    made = {}
    for profile in ("gpu", "cpu-high-ram"):
        result = alice("merge", CONFIGS / f"{name}.yaml", f"profile={profile}", "-o", profile, "--no-push")
        assert result.exit_code == 0, result.stderr
        made[profile] = load_file(llmcourse.folder / profile / "model.safetensors")
    for key, tensor in made["gpu"].items():
        torch.testing.assert_close(tensor, made["cpu-high-ram"][key], rtol=2**-7, atol=1e-4)


def test_a_gpu_is_seen_and_chosen(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    result = as_user(llmcourse, demo_hub)("merge", CONFIGS / "linear.yaml", "--dry-run", "--json")
    assert dict(result.json["summary"])["profile"].startswith("gpu (this machine has ")
    assert result.json["estimate"]["vram"] > 0
