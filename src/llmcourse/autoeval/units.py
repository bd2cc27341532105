"""What is evaluated, as a list: each model on each task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmcourse.autoeval.results import slug
from llmcourse.autoeval.suite import Suite, Task


@dataclass(frozen=True)
class Unit:
    """One model on one task.

    `model` is as the config writes it; `name` is what the result calls it, which says nothing of this
    machine; `path` is its folder or GGUF file here; `backend` is hf, gptq, gguf or vllm; `group` is the first
    group of the suite that has the task.
    """

    model: str
    name: str
    path: str
    backend: str
    task: Task
    group: str

    @property
    def piece(self) -> str:
        """The part of the result that it is."""
        return piece_of(self.name, self.task.name)


def piece_of(name: str, task: str) -> str:
    return f"{slug(name)}|{slug(task)}"


def units_of(suite: Suite, models: Sequence[dict[str, Any]]) -> list[Unit]:
    """Units model by model, so that each model is loaded once; a task of two groups is evaluated once.

    Args:
        models: for each its `model`, `name`, `path` and `backend`.
    """
    found: dict[tuple[str, str], Unit] = {}
    for model in models:
        for group in suite.groups:
            for task in group.tasks:
                unit = Unit(task=task, group=group.name, **model)
                found.setdefault((unit.name, task.name), unit)
    return list(found.values())
