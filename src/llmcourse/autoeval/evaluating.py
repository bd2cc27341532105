"""One model on one task with lm-eval, and what came of it.  Tasks stay loaded for the models that follow."""

import os

# lm-eval's bars go to the log, where ten lines a second are of no use.
os.environ.setdefault("TQDM_MININTERVAL", "30")
# Its bootstrap forks processes, which outlive a killed run.  Without them its figures are the same.
os.environ.setdefault("DISABLE_MULTIPROC", "1")

import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from llmcourse.autoeval.catalog import folders_of
from llmcourse.autoeval.config import Config
from llmcourse.autoeval.counting import Counts
from llmcourse.autoeval.results import TaskResult, samples_path
from llmcourse.autoeval.scores import problem_of
from llmcourse.autoeval.suite import Group, Task
from llmcourse.autoeval.units import Unit
from llmcourse.autoeval.watched import Watched
from llmcourse.core.progress import Progress

# lm-eval's own seeds (simple_evaluate): 0 for random, this for numpy, torch and the choice of examples.
_OTHER_SEED = 1234


class Evaluator:
    """Evaluates models that are loaded already, task by task."""

    def __init__(self, config: Config, groups: Sequence[Group], progress: Progress) -> None:
        """`groups` are those of the suite."""
        self.config = config
        self.groups = groups
        self.progress = progress
        self._tasks: dict[str, Any] = {}
        self._chances: dict[str, Any] = {}  # states of all chance when a task had been loaded

    def evaluate(self, model: Any, unit: Unit, label: str, folder: Path) -> TaskResult:
        """What the model reaches; `label` is shown; samples, if they are kept, go into `folder`.

        Raises:
            Exception: whatever lm-eval, the data or the model raise.
        """
        begin = time.monotonic()
        loaded = self._loaded(unit.task)
        runtime = self.config.runtime
        self._chance_of(unit.task.name)
        counts = getattr(model, "counts", None) or Counts()  # lm-eval's model of vLLM tells nothing
        counts.begin()
        found = evaluate(
            lm=Watched(model, label, self.progress),
            task_dict=loaded,
            limit=runtime.limit,
            log_samples=self.config.samples,
            system_instruction=runtime.system_instruction,
            apply_chat_template=runtime.apply_chat_template,
            fewshot_as_multiturn=runtime.fewshot_as_multiturn,
        )
        assert found is not None, "only other ranks of a distributed run get nothing"
        for task in loaded["tasks"].values():
            task._instances = None  # prompts and answers of this model
        if self.config.samples:
            _write_samples(folder / samples_path(unit.name, unit.task.name), found["samples"])
        result = replace(
            result_of(found, unit, time.monotonic() - begin),
            truncated={"prompts": counts.prompts, "tokens": counts.tokens} if counts.prompts else {},
            unfinished_thoughts=counts.unfinished or None,
        )
        problems = [
            problem_of(result, group, task)
            for group in self.groups
            for task in group.tasks
            if task.name == unit.task.name
        ]
        # What is of use to one group is no failure of the task; the other group's has its own reason.
        if not all(problems):
            return result
        finite = {key: value for key, value in result.metrics.items() if math.isfinite(value)}
        return replace(result, error=problems[0], metrics=finite)

    def _loaded(self, wanted: Task) -> Any:
        """The task with its data, as TaskManager.load gives it, and with the wanted number of examples.

        Raises:
            ValueError: the task has its number of examples fixed.
        """
        if wanted.name not in self._tasks:
            with self.progress.step(f"load {wanted.name}"):
                self._seed()
                manager = TaskManager(include_path=folders_of([wanted.name]), include_defaults=False)
                self._tasks[wanted.name] = manager.load([wanted.name])
                self._set_generation(self._tasks[wanted.name])
                self._chances[wanted.name] = (random.getstate(), np.random.get_state(), torch.get_rng_state())
        loaded = self._tasks[wanted.name]
        for name, task in loaded["tasks"].items():
            own = task.get_config("num_fewshot")
            if own == 0 and wanted.fewshot:
                # lm-eval would go on with none and say so in its log.
                raise ValueError(f"{name} is a task without examples; fewshot cannot be {wanted.fewshot}")
            if wanted.fewshot is not None or own is None:
                task.set_config(key="num_fewshot", value=wanted.fewshot or 0)
        return loaded

    def _set_generation(self, loaded: Any) -> None:
        """As lm-eval's simple_evaluate does with gen_kwargs; another name of the length is max_gen_toks here.

        Beside a task's own max_gen_toks lm-eval passes another name over.
        """
        arguments = self.config.runtime.generation()
        for task in loaded["tasks"].values() if arguments else ():
            if task.get_config("output_type") == "generate_until":
                task.set_config(key="generation_kwargs", value=dict(arguments), update=True)

    def _seed(self) -> None:
        """As lm-eval's simple_evaluate does before it loads a task: GPQA shuffles its choices then."""
        seed = self.config.runtime.seed
        random.seed(seed)
        np.random.seed(_OTHER_SEED + seed)
        torch.manual_seed(_OTHER_SEED + seed)

    def _chance_of(self, task: str) -> None:
        """Chance as it was when the task had been loaded, so that each model is asked as the first one is.

        The sampler of examples is seeded anew too, as a task that is loaded for one model has it.
        """
        state, numpy_state, torch_state = self._chances[task]
        random.setstate(state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        for loaded in self._tasks[task]["tasks"].values():
            loaded.set_fewshot_seed(seed=_OTHER_SEED + self.config.runtime.seed)


def failed(unit: Unit, reason: str, seconds: float = 0.0) -> TaskResult:
    return TaskResult(unit.name, unit.task.name, error=reason, seconds=round(seconds, 3))


def result_of(found: Any, unit: Unit, seconds: float) -> TaskResult:
    """lm-eval's document as a result; subtasks of a group become its parts."""
    names = [name for name in found["results"] if name != unit.task.name]
    whole = _result(found, unit.name, unit.task.name)
    parts = tuple(_result(found, unit.name, name) for name in names)
    leaves = [part.samples for part in parts if part.task not in found["group_subtasks"]]
    found_parts = {"parts": parts, "samples": sum(leaves) or whole.samples}
    return TaskResult(
        **vars(whole) | _common_data(whole, parts) | found_parts | {"seconds": round(seconds, 3)}
    )


def _common_data(whole: TaskResult, parts: Sequence[TaskResult]) -> dict[str, str]:
    """What a group of lm-eval reads, as far as its parts read the same: mmlu reads cais/mmlu."""
    if whole.dataset or not parts:
        return {}
    read = [part for part in parts if part.dataset]
    found = {key: {getattr(part, key) for part in read} for key in ("dataset", "dataset_config", "split")}
    common = {key: values.pop() if len(values) == 1 else "" for key, values in found.items()}
    return common if common["dataset"] else {}


def _result(found: Any, model: str, task: str) -> TaskResult:
    figures = found["results"].get(task, {})
    numbers = {
        key: float(value)
        for key, value in figures.items()
        if "," in key and isinstance(value, int | float) and not isinstance(value, bool)
    }
    is_stderr = {key: key.partition(",")[0].endswith("_stderr") for key in numbers}
    shots = found["n-shot"].get(task)
    config = found["configs"].get(task, {})
    return TaskResult(
        model=model,
        task=task,
        version=str(found["versions"].get(task) or ""),
        fewshot=shots if isinstance(shots, int) else None,
        metrics={key: value for key, value in numbers.items() if not is_stderr[key]},
        stderr={
            key.replace("_stderr,", ",", 1): value
            for key, value in numbers.items()
            if is_stderr[key] and math.isfinite(value)
        },
        higher_is_better={
            name: bool(higher) for name, higher in (found["higher_is_better"].get(task) or {}).items()
        },
        samples=int(found["n-samples"].get(task, {}).get("effective", 0)),
        dataset=str(config.get("dataset_path") or ""),
        dataset_config=str(config.get("dataset_name") or ""),
        split=str(config.get("test_split") or config.get("validation_split") or ""),
    )


def _write_samples(path: Path, samples: dict[str, list[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for task, rows in samples.items():
            for row in rows:
                text = json.dumps({"task": task} | row, default=handle_non_serializable, ensure_ascii=False)
                file.write(text + "\n")
