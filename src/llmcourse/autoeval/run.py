"""The adapter: evaluate what is missing with the chosen engine, keep each outcome, then write the report.

It imports no heavy library itself: the engine does, and that of RunPod needs none.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcourse.autoeval.conditions import conditions, losses
from llmcourse.autoeval.config import Config
from llmcourse.autoeval.engines import engine
from llmcourse.autoeval.results import TaskResult, result_path, samples_path
from llmcourse.autoeval.scores import Results, average, scores
from llmcourse.autoeval.suite import Suite
from llmcourse.autoeval.thinking import chat_in
from llmcourse.autoeval.units import Unit, units_of
from llmcourse.core.artifact import OutputFile, whole_pieces
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import LOADING, Job
from llmcourse.core.progress import Progress

_NAMED = 3  # failed tasks that the error names


def answer(job: Job, progress: Progress) -> dict[str, Any]:
    """What lm-eval knows of the tasks (catalog.described), and `chats`: thinking.chat_in of each model."""
    from llmcourse.autoeval.catalog import described, prepared

    prepared(progress)
    chats = {name: chat_in(Path(job.inputs[name])) for name in job.settings["models"]}
    return described(job.settings["tasks"]) | {"chats": chats}


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Evaluate what no earlier run has, and write the report.

    Raises:
        PlanError: the disk is full.
        LibraryError: tasks failed; their reasons are in the report, the others are finished.
    """
    evaluation = _Evaluation(job, progress)
    ended: LibraryError | None = None
    try:
        yield from evaluation.tasks()
    except LibraryError as error:
        ended = error  # told when the report of what there is has been written
    yield from evaluation.report()
    if ended:
        raise ended
    evaluation.refuse_failures()


class _Evaluation:
    """One run: its units, and the outcome of each."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self.job = job
        self.progress = progress
        self.config = Config(**job.config)
        self.suite = Suite(**job.settings["suite"])
        self.has_new = False
        done = whole_pieces(job.done)
        self.outcomes = {unit.piece: self._read(unit) for unit in self.units if unit.piece in done}

    @cached_property
    def units(self) -> list[Unit]:
        settings = self.job.settings
        paths = self.job.inputs | settings["paths"]
        models = zip(settings["models"], settings["written"], strict=True)
        return units_of(
            self.suite, [model | {"model": written, "path": paths[written]} for model, written in models]
        )

    def _read(self, unit: Unit) -> TaskResult:
        return TaskResult.read(self.job.files / result_path(unit.name, unit.task.name))

    def tasks(self) -> Iterator[OutputFile]:
        """Files of each unit that has no outcome yet, as soon as it has one."""
        left = [unit for unit in self.units if unit.piece not in self.outcomes]
        if not left:
            return
        self.has_new = True
        by_name = {(unit.name, unit.task.name): unit for unit in left}
        with self.progress.step(LOADING):
            chosen = engine(self.config.engine)
        for result in chosen.evaluate(left, self.job, self.progress):
            unit = by_name[result.model, result.task]
            self.outcomes[unit.piece] = result
            if result.error:
                self.progress.note(f"! {result.model}: {result.task} failed: {result.error}")
            for sentence in losses([result]):
                self.progress.note(f"! {result.model}: {sentence}")
            yield from self._files(unit, result)

    def _files(self, unit: Unit, result: TaskResult) -> Iterator[OutputFile]:
        """A failed task's file is part of the result, but no piece of it: the next run tries it again."""
        paths = [result_path(unit.name, unit.task.name)]
        result.write(self.job.files / paths[0])
        samples = samples_path(unit.name, unit.task.name)
        if (self.job.files / samples).is_file():
            paths.append(samples)
        piece = "" if result.error else unit.piece
        for path in paths:
            file = OutputFile.of(self.job.files, path, piece=piece)
            yield replace(file, files_in_piece=len(paths) if piece else 1)

    @property
    def failures(self) -> dict[str, str]:
        """Why, for each unit without a figure."""
        missing = {
            unit.piece: f"{unit.name} on {unit.task.name}: it ended without a result"
            for unit in self.units
            if unit.piece not in self.outcomes
        }
        errors = {
            piece: f"{result.model} on {result.task}: {result.error}"
            for piece, result in self.outcomes.items()
            if result.error
        }
        return missing | errors

    @property
    def groups_without_figure(self) -> list[str]:
        """Why, for each group of a model that has none though all of its tasks have ended well."""
        if self.failures:
            return []
        return [
            f"{score.name} of {model}: {score.failed}"
            for model in self.results
            for score in scores(self.suite, self.results, model)
            if score.failed
        ]

    @property
    def results(self) -> Results:
        found: dict[str, dict[str, TaskResult]] = {unit.name: {} for unit in self.units}
        for result in self.outcomes.values():
            found[result.model][result.task] = result
        return found

    def report(self) -> Iterator[OutputFile]:
        """Tables, JSON, plot; no piece while something failed, so that the next run writes them anew."""
        piece = self.job.settings["report"]
        if not self.has_new and piece in whole_pieces(self.job.done):
            return
        from llmcourse.autoeval.writing import write_report

        names = write_report(self.job.files, self.suite, self.results, self.job.settings, self.config)
        about = {"scores": self._figures(), "conditions": conditions(self.config.runtime)}
        for name in names:
            file = OutputFile.of(
                self.job.files,
                name,
                piece="" if self.failures else piece,
                about=about if name == names[0] else {},
            )
            yield replace(file, files_in_piece=1 if self.failures else len(names))

    def _figures(self) -> dict[str, Any]:
        found = {}
        for model in self.results:
            groups = scores(self.suite, self.results, model)
            found[model] = {
                "groups": {score.name: score.failed or score.value for score in groups},
                "average": average(groups),
            }
        return found

    def refuse_failures(self) -> None:
        told = list(self.failures.values()) or self.groups_without_figure
        if not told:
            return
        what = f"{len(told)} of {len(self.units)} tasks failed" if self.failures else "Groups have no figure"
        more = f" (and {len(told) - _NAMED} more)" if len(told) > _NAMED else ""
        raise LibraryError(
            f"{what}: {'; '.join(told[:_NAMED]).removesuffix('.')}{more}.",
            f"What is finished is kept, and the table is in {self.job.files / 'summary.md'}. "
            + (
                "Mend the cause, and run the same command again for the others."
                if self.failures
                else "Name a metric that the tasks report in the suite."
            ),
        )
