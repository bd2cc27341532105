"""The adapter: measure once, then make one result after the other.

This process only directs: exllamav2 runs in an environment of its own (`exl2_worker.py`).
"""

from collections.abc import Iterator

from llmcourse.core.artifact import OutputFile
from llmcourse.core.environments import Environment
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quality.text import read_text
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.making import Making
from llmcourse.quantize_exl2.naming import WORKER


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Make what is not there yet.

    Raises:
        MissingError: the environment cannot be had.
        PlanError: the GPU's memory or the calibration text does not suffice, or the measurement does not fit.
        LibraryError: exllamav2 failed.
    """
    yield from make(job, progress, Environment(WORKER))


def make(job: Job, progress: Progress, environment: Environment) -> Iterator[OutputFile]:
    """The same in an environment that the caller has."""
    config = Config(**job.config)
    if config.quality:
        read_text(config.quality)  # what cannot be measured on is told before hours are spent
    making = Making(config, job, progress, environment)
    yield from making.measurement()
    yield from making.widths()
    yield from making.quality()
