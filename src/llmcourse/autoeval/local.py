"""The engine of this machine: one model after another, each on all of its tasks."""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.evaluating import Evaluator, failed
from llmcourse.autoeval.failures import is_disk_full, reason_of
from llmcourse.autoeval.models import loaded
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import Suite
from llmcourse.autoeval.units import Unit
from llmcourse.core.errors import LlmcourseError, file_error
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress


def evaluate(units: Sequence[Unit], job: Job, progress: Progress) -> Iterator[TaskResult]:
    """Evaluate units, model by model; tasks and their data are loaded once for all models.

    Raises:
        PlanError: the disk is full.
    """
    suite = Suite(**job.settings["suite"])
    evaluator = Evaluator(Config(**job.config), suite.groups, progress)
    for _, own in groupby(units, key=lambda unit: unit.model):
        yield from evaluate_model(list(own), evaluator, job)


def evaluate_model(units: Sequence[Unit], evaluator: Evaluator, job: Job) -> Iterator[TaskResult]:
    """All tasks of one model; where it cannot be loaded, that is why each of them failed."""
    first = units[0]
    with ExitStack() as stack:
        try:
            with evaluator.progress.step(f"load {first.name}"):
                model = stack.enter_context(loaded(first, evaluator.config.runtime, job.settings))
        except Exception as error:
            _log(error)
            reason = f"the model cannot be loaded: {reason_of(error)}"
            yield from (failed(unit, reason) for unit in units)
            return
        for number, unit in enumerate(units, 1):
            label = f"{unit.name} {number}/{len(units)} {unit.task.name}"
            try:
                result = evaluator.evaluate(model, unit, label, job.files)
            except Exception as error:
                _log(error)
                result = failed(unit, reason_of(error))
            yield result


def _log(error: Exception) -> None:
    """Into the log that is shown where the run fails.

    Raises:
        LlmcourseError: it is one of ours.
        PlanError: the disk is full, which ends the run.
    """
    if isinstance(error, LlmcourseError):
        raise error
    if is_disk_full(error):
        raise file_error(OSError(28, "No space left on device")) from error
    traceback.print_exception(error, file=sys.stderr)
