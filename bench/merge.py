"""`llmcourse merge` against `mergekit-yaml`: wall time and peak memory, and whether every bit is the same.

Three bf16 Llamas of about 1 B random parameters (hidden 2048, 20 layers, intermediate 5632, vocabulary
32000) and one of 4 M are made on the spot.  Usage: python bench/merge.py [--runs N] [METHOD ...]
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))

from measure import Measure, compare, run

from llmcourse.testing.models import build_family, build_random_llama

_BIN = Path(sys.executable).parent
_SEED = 42
# name -> the most of mergekit's wall time we want to take
_LIMITS = {"slerp": 0.5, "ties": 0.25, "dare_ties": 0.5, "linear": 0.6, "tiny": 0.6}
_MEMORY_LIMIT = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=list(_LIMITS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to keep the models (default: a temporary folder)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="llmcourse-bench-"))
    try:
        print(f"{'merge':10} {'ours':>9} {'mergekit':>9} {'ratio':>6} {'limit':>6} "
              f"{'our peak':>9} {'its peak':>9} {'ratio':>6} {'limit':>6}  bits")  # fmt: skip
        for method in arguments.methods:
            _compare(method, folder, arguments.runs)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def _compare(method: str, folder: Path, runs: int) -> None:
    models = _models(folder, is_tiny=method == "tiny")
    config = folder / f"{method}.yaml"
    config.write_text(yaml.safe_dump(_recipe("slerp" if method == "tiny" else method, models)))
    ours, theirs = folder / "ours", folder / "theirs"

    def run_ours() -> Measure:
        _clear(ours)
        return run([str(_BIN / "llmcourse"), "merge", str(config), "-o", str(ours), "-q",
                    "--no-push", f"options.random_seed={_SEED}"])  # fmt: skip

    def run_theirs() -> Measure:
        _clear(theirs)
        return run([str(_BIN / "mergekit-yaml"), str(config), str(theirs), "--random-seed", str(_SEED),
                    "--quiet"])  # fmt: skip

    mine, its = compare(run_ours, run_theirs, runs)
    print(
        f"{method:10} {mine.seconds:7.2f} s {its.seconds:7.2f} s {mine.seconds / its.seconds:6.2f} "
        f"{_LIMITS[method]:6.2f} {_gb(mine)} {_gb(its)} {mine.peak_bytes / its.peak_bytes:6.2f} "
        f"{_MEMORY_LIMIT:6.2f}  {_compared(ours, theirs)}",
        flush=True,
    )
    _clear(ours)
    _clear(theirs)


def _gb(measure: Measure) -> str:
    return f"{measure.peak_bytes / 1e9:6.2f} GB"


def _clear(folder: Path) -> None:
    """A new output, and no writing of the last one still under way."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def _models(folder: Path, is_tiny: bool) -> list[Path]:
    size: dict[str, Any] = (
        {"hidden": 192, "layers": 6, "intermediate": 512, "vocab": 2000, "heads": 6, "kv_heads": 6}
        if is_tiny
        else {"hidden": 2048, "layers": 20, "intermediate": 5632, "vocab": 32000, "heads": 32, "kv_heads": 32}
    )
    tokenizer = build_family().base
    models = [folder / f"{'tiny' if is_tiny else 'model'}-{index}" for index in range(3)]
    for seed, path in enumerate(models):
        if not path.exists():
            build_random_llama(path, seed=seed, tokenizer_from=tokenizer, **size)
    return models


def _recipe(method: str, models: list[Path]) -> dict[str, Any]:
    base, first, second = map(str, models)
    recipe: dict[str, Any] = {"merge_method": method, "dtype": "bfloat16"}
    if method == "slerp":
        return recipe | {
            "models": [{"model": base}, {"model": first}], "base_model": base, "parameters": {"t": 0.4}
        }  # fmt: skip
    if method == "linear":
        entries = [{"model": path, "parameters": {"weight": 0.3}} for path in (base, first, second)]
        return recipe | {"models": entries}
    entries = [{"model": path, "parameters": {"weight": 0.5, "density": 0.5}} for path in (first, second)]
    return recipe | {"models": entries, "base_model": base}


def _compared(ours: Path, theirs: Path) -> str:
    """Compare every tensor, one at a time."""
    from safetensors import safe_open

    def tensors(folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        return found

    mine, its = tensors(ours), tensors(theirs)
    if mine.keys() != its.keys():
        return "other tensors!"
    different = 0
    for name, path in mine.items():
        with safe_open(path, "pt") as left, safe_open(its[name], "pt") as right:
            a, b = left.get_tensor(name), right.get_tensor(name)
            different += a.dtype != b.dtype or not bool((a == b).all())
    return f"{different} of {len(mine)} tensors differ" if different else "identical"


if __name__ == "__main__":
    main()
