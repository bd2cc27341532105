"""What `llmcourse merge` makes is what mergekit makes, to the last bit, for every config we ship."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from safetensors.torch import load_file

from llmcourse.core.older_names import with_older_names
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family
from llmcourse.testing.plugin import Cli, as_user
from tests.tiny_configs import tiny_configs

CONFIGS = tiny_configs("merge")
# Without a base_model, mergekit draws by lot which model gives config and tokenizer.
WITHOUT_DONOR = ("linear", "passthrough", "multi-stage")
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
# Those with kernels of ours; the others run mergekit's own.
QUICK = ("linear", "slerp", "ties", "dare_ties")


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, family: Family) -> Path:
    """mergekit's own results, made once for all workers."""
    shared = tmp_path_factory.getbasetemp().parent / "mergekit-reference"
    models = {BASE_ID: str(family.base), CODE_ID: str(family.code), PROSE_ID: str(family.prose)}
    script = Path(__file__).with_name("mergekit_reference.py")
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            growing = shared.with_suffix(".growing")
            command = [sys.executable, str(script), str(CONFIGS), str(growing), json.dumps(models)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr[-3000:]
            growing.rename(shared)
    return shared


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_every_bit_is_mergekits(name: str, llmcourse: Cli, demo_hub: LoopbackHub, reference: Path) -> None:
    result = as_user(llmcourse, demo_hub)("merge", CONFIGS / f"{name}.yaml", "-o", "out", "--no-push")
    assert result.exit_code == 0, result.stderr
    out, theirs = llmcourse.folder / "out", reference / name
    assert not different_tensors(out / "model.safetensors", theirs / "model.safetensors")
    if name not in WITHOUT_DONOR:
        files = [path for path in theirs.iterdir() if path.suffix in (".json", ".model")]
        assert [path.name for path in files if (out / path.name).read_bytes() != path.read_bytes()] == [
            "config.json"
        ]
        ours, its = (json.loads((folder / "config.json").read_text()) for folder in (out, theirs))
        assert ours == with_older_names(its) != its


def different_tensors(ours: Path, theirs: Path) -> list[str]:
    mine, its = load_file(ours), load_file(theirs)
    assert mine.keys() == its.keys()
    return [name for name in its if mine[name].dtype != its[name].dtype or not mine[name].equal(its[name])]
