"""The adapter with exllamav2 itself, in its own environment, and the CPU in the place of a GPU."""

from collections.abc import Iterator
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.environments import Environment
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.naming import WORKER
from llmcourse.quantize_exl2.run import make


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    environment = Environment(WORKER)
    environment.script = Path(__file__).parent / "cuda_on_cpu" / "worker.py"
    yield from make(job, progress, environment)
