"""`llmcourse autoeval` against lm-eval called directly: time and figures; then Ray with one and two workers.

Three random Llamas of about 17 M parameters in 32 bits, on three tasks that the package brings along.  A
script gives lm-eval only the folder of these tasks, so that it does not read its own 14,000 task files (8 s),
which its command line does at every start.

Usage: python bench/autoeval.py [--runs N] [--folder DIR]
"""

import json
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measure import Measure, compare, main, run

from llmcourse.autoeval.catalog import OWN_TASKS
from llmcourse.autoeval.results import TaskResult, result_path
from llmcourse.testing.models import build_family, build_random_llama

_TIME_LIMIT = 1.05
_TASKS = ("tiny_continuation", "tiny_word", "tiny_text")
_MODELS = 3

_DIRECTLY = """
import json, sys
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
tasks, folder, output, *models = sys.argv[1:]
manager = TaskManager(include_path=folder, include_defaults=False)
found = {}
for model in models:
    loaded = HFLM(pretrained=model, device="cpu", batch_size=4)
    answer = simple_evaluate(model=loaded, tasks=tasks.split(","), task_manager=manager)
    found[model] = answer["results"]
with open(output, "w") as file:
    json.dump(found, file, default=str)
"""


def _compare(folder: Path, runs: int) -> None:
    models = [_model(folder / f"model-{number}", number) for number in range(_MODELS)]
    _ours(folder, models)  # looks lm-eval's tasks up, once per machine
    ours, theirs = compare(lambda: _ours(folder, models), lambda: _directly(folder, models), runs)
    print(
        f"{_MODELS} models on {len(_TASKS)} tasks: ours {ours.seconds:.1f} s, lm-eval directly "
        f"{theirs.seconds:.1f} s, ratio {ours.seconds / theirs.seconds:.2f} (limit {_TIME_LIMIT:.2f})"
    )
    print(f"peak memory: ours {ours.peak_bytes / 1e9:.2f} GB, directly {theirs.peak_bytes / 1e9:.2f} GB")
    print(f"figures: {'identical' if _are_same(folder, models) else 'different'}")
    for workers in (1, 2):
        seconds = _ours(folder, models, f"engine: ray\nray: {{workers: {workers}}}\n").seconds
        print(f"Ray with {workers} worker{'s' if workers > 1 else ''}: {seconds:.1f} s")


def _model(folder: Path, seed: int) -> Path:
    if not folder.exists():
        build_random_llama(
            folder, hidden=512, layers=6, intermediate=1024, heads=8, dtype="float32", seed=seed,
            tokenizer_from=build_family().base,
        )  # fmt: skip
    return folder


def _ours(folder: Path, models: list[Path], more: str = "") -> Measure:
    out = folder / "ours"
    shutil.rmtree(out, ignore_errors=True)
    config = folder / "e.yaml"
    config.write_text(f"model: {json.dumps([*map(str, models)])}\ntasks: {json.dumps(_TASKS)}\n{more}")
    command = [sys.executable, "-m", "llmcourse", "autoeval", str(config), "-o", str(out), "-q"]
    return run(command, {**os.environ, "LLMCOURSE_CACHE": str(folder / "cache")})


def _directly(folder: Path, models: list[Path]) -> Measure:
    script = folder / "directly.py"
    script.write_text(_DIRECTLY)
    arguments = [",".join(_TASKS), str(OWN_TASKS), str(folder / "directly.json"), *map(str, models)]
    return run([sys.executable, str(script), *arguments])


def _are_same(folder: Path, models: list[Path]) -> bool:
    """Shares, which do not depend on which texts were computed beside each other."""
    directly = json.loads((folder / "directly.json").read_text())
    return all(
        TaskResult.read(folder / "ours" / result_path(model.name, task)).metrics["acc,none"]
        == directly[str(model)][task]["acc,none"]
        for model in models
        for task in _TASKS[:2]
    )


if __name__ == "__main__":
    main(__doc__, _compare)
