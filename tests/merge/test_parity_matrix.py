"""Every bit is mergekit's, for every method, with LoRAs or without, whatever the architecture."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse.merge.methods import METHODS

SCRIPT = Path(__file__).with_name("parity_matrix.py")
ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "gpt_neox", "gpt2")
# mergekit's DELLA sorts along the second dimension, which a number has not: the buffers of GPT-NeoX are some.
FAIL_THERE = {"gpt_neox": {"della-plain", "della_linear-plain"}}


def compared(folder: Path, architecture: str, *methods: str) -> dict[str, list[str]]:
    """Tensors that differ, by merge."""
    command = [sys.executable, str(SCRIPT), str(folder), architecture, *methods]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_a_random_method_with_a_lora_draws_mergekit_s_numbers(tmp_path: Path) -> None:
    found = compared(tmp_path, "llama", "dare_ties")
    assert found == {f"dare_ties-{kind}": [] for kind in ("plain", "lora", "loras", "base-lora")}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_method_makes_what_mergekit_makes(tmp_path: Path, architecture: str) -> None:
    found = compared(tmp_path, architecture)
    failed = {name for name, tensors in found.items() if tensors and tensors[0].startswith("mergekit: ")}
    assert failed == FAIL_THERE.get(architecture, set())
    assert {name: tensors for name, tensors in found.items() if tensors and name not in failed} == {}
    kinds = {name.rpartition("-")[0] for name in found if name.endswith("-plain")}
    assert kinds == set(METHODS)


@pytest.mark.filterwarnings("ignore")  # of what peft imports
def test_a_lora_that_was_merged_before_leaves_the_numbers_as_if_it_was_merged_now(tmp_path: Path) -> None:
    """A run that goes on after a kill, and one that finds its LoRA in a cache, make the same model."""
    from tests.merge.parity_matrix import by_us, differing, models, recipes

    places = models(tmp_path / "models", "llama")
    recipe = dict(recipes(["dare_ties"], with_loras=True))["dare_ties-loras"]
    by_us(recipe, places, tmp_path / "fresh")
    (tmp_path / "fresh-scratch").rename(tmp_path / "again-scratch")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "again-scratch").rglob("*.safetensors")}
    by_us(recipe, places, tmp_path / "again")
    assert len(made) == 2 and all(path.stat().st_mtime_ns == time for path, time in made.items())
    assert differing(tmp_path / "again", tmp_path / "fresh") == []
