"""Where tasks are evaluated: an engine is a module with `evaluate`, found by its name here."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Protocol, cast

from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.units import Unit
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress

_MODULES = {
    "local": "llmcourse.autoeval.local",
    "ray": "llmcourse.autoeval.on_ray",
    "runpod": "llmcourse.autoeval.runpod.engine",
}


class Engine(Protocol):
    """Evaluates units in an order of its own, and yields each outcome as soon as there is one.

    What goes wrong with a unit is its outcome (TaskResult.error), and the others go on.  What ends all of
    them is raised: LibraryError keeps what there is.
    """

    def evaluate(self, units: Sequence[Unit], job: Job, progress: Progress) -> Iterator[TaskResult]: ...


def engine(name: str) -> Engine:
    """The engine of that name; its libraries are imported now."""
    return cast(Engine, import_module(_MODULES[name]))
