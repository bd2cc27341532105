"""The adapter with exllamav2 itself, in its own environment, and the CPU in the place of a GPU."""

from collections.abc import Iterator
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.environments import Environment
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.naming import WORKER
from llmcourse.quantize_exl2.run import make


def environment_on_the_cpu() -> Environment:
    """That of the worker, which is started by a script that puts the CPU in place first."""
    environment = Environment(WORKER)
    environment.script = Path(__file__).parent / "cuda_on_cpu" / "worker.py"
    return environment


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    yield from make(job, progress, environment_on_the_cpu())
