"""A pod that works, as the client follows it: its results as they arrive, and how it ended."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmcourse.autoeval.results import TaskResult, samples_path
from llmcourse.autoeval.runpod.budget import Lease
from llmcourse.autoeval.runpod.dealing import repository_of
from llmcourse.autoeval.runpod.ledger import Record
from llmcourse.autoeval.units import Unit
from llmcourse.core.hub.mailbox import Mailbox

REPORT, LOG = "pod.json", "log.txt"

Key = tuple[str, str]  # model and task, as results name them


@dataclass
class Followed:
    """`jobs` are the units of each of the pod's runs; `report` is its own word on its end."""

    record: Record
    lease: Lease
    jobs: list[dict[Key, Unit]]
    was_replaced: bool = False
    is_closed: bool = False
    is_over: bool = False
    has_failed: bool = False
    report: Mapping[str, Any] | None = None
    home: set[Key] = field(default_factory=set)
    seen: set[tuple[int, str]] = field(default_factory=set)  # files of each job's branch that were read
    errors: dict[Key, str] = field(default_factory=dict)  # of tasks, as the pod told them

    @property
    def died(self) -> bool:
        """It is gone without a word, or RunPod started it anew."""
        return self.report is None or self.report["state"] == "died"

    @property
    def missing(self) -> list[Unit]:
        return [unit for job in self.jobs for key, unit in job.items() if key not in self.home]

    @property
    def reason(self) -> str:
        if self.report is None:
            end = "was ended because its time was over" if self.is_over else "ended without a word"
            return f"pod {self.record.id} {end}"
        why = self.report["reason"] or "it ended without this task's result"
        return f"pod {self.record.id}: {why}"

    def failures(self) -> Iterator[TaskResult]:
        """Outcomes with an error for what will not come: the task's own where the pod told it."""
        for unit in self.missing:
            self.has_failed = True
            key = (unit.name, unit.task.name)
            yield TaskResult(*key, error=self.errors.get(key, self.reason))

    def key_of(self, job: int, result: TaskResult) -> Key | None:
        """The unit that a pod's result is of: there its model is called with the commit, or without."""
        named = (repository_of(result.model), result.task)
        known = {(repository_of(unit.model), unit.task.name): key for key, unit in self.jobs[job].items()}
        return known.get(named) or next(
            (key for key in self.jobs[job] if key == (result.model, result.task)), None
        )


def collect(pod: Followed, mailbox: Mailbox, files: Path) -> Iterator[TaskResult]:
    """What has come since the last look; answers to samples are put into `files`, the result's folder.

    The report is read first, so that nothing comes after it.

    Raises:
        LibraryError: the Hub does not answer.
    """
    text = mailbox.text(pod.record.name, REPORT)
    for number in range(len(pod.jobs)):
        branch = f"{pod.record.name}-job-{number}"
        for path in mailbox.paths(branch):
            if not path.startswith("tasks/") or (number, path) in pod.seen:
                continue
            result = TaskResult.read(mailbox.file(branch, path))
            key = pod.key_of(number, result)
            if key is None or result.error:
                pod.errors |= {key: result.error} if key else {}
                continue
            _bring_samples(mailbox, branch, path, files / samples_path(*key))
            pod.seen.add((number, path))
            pod.home.add(key)
            yield replace(result, model=key[0])
    if text is not None:
        pod.report = json.loads(text)
        for item in pod.report["failed_tasks"]:
            for number in range(len(pod.jobs)):
                key = pod.key_of(number, TaskResult(item["model"], item["task"]))
                pod.errors |= {key: str(item["error"])} if key else {}


def _bring_samples(mailbox: Mailbox, branch: str, result: str, place: Path) -> None:
    source = result.replace("tasks/", "samples/", 1).removesuffix(".json") + ".jsonl"
    if source in mailbox.paths(branch):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(mailbox.file(branch, source), place)
