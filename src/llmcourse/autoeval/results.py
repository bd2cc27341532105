"""What is known of one task on one model when it has ended, and its form on disk."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.workspace import write_json


@dataclass(frozen=True)
class TaskResult:
    """A task's outcome; `error` is why there is none.

    `metrics` and `stderr` are keyed as lm-eval keys them, `metric,filter`; values are unscaled.  `parts` are
    the subtasks of a group of lm-eval (mmlu, leaderboard), of which `metrics` is lm-eval's own aggregate.
    `truncated` and `unfinished_thoughts` are empty where nothing was.
    """

    model: str
    task: str
    version: str = ""
    fewshot: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    stderr: dict[str, float] = field(default_factory=dict)
    higher_is_better: dict[str, bool] = field(default_factory=dict)
    samples: int = 0
    seconds: float = 0.0
    error: str = ""
    dataset: str = ""  # as the Hub names it, with its config and the split that was used
    dataset_config: str = ""
    split: str = ""
    truncated: dict[str, int] = field(
        default_factory=dict
    )  # prompts that lost tokens at their front, and how many
    unfinished_thoughts: int | None = None  # answers that think_end_token does not stand in
    parts: tuple["TaskResult", ...] = ()

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "TaskResult":
        return cls._from(json.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def _from(cls, data: dict[str, Any]) -> "TaskResult":
        return cls(**data | {"parts": tuple(cls._from(part) for part in data.get("parts", ()))})


def result_path(model: str, task: str) -> str:
    """Where in the result's folder a task's outcome lies: `tasks/MODEL/TASK.json`, MODEL being a slug."""
    return f"tasks/{slug(model)}/{slug(task)}.json"


def samples_path(model: str, task: str) -> str:
    """Where in the result's folder the answers to a task's samples lie, where they are kept."""
    return f"samples/{slug(model)}/{slug(task)}.jsonl"


def slug(name: str) -> str:
    """A name that may be a file's: what separates folders, and what systems dislike, becomes `__`."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "__" for letter in name)
    return safe.strip(".") or "model"
