"""The adapter with the stand-in in place of exllamav2's environment."""

import sys
from collections.abc import Iterator
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.environments import Environment
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.run import make

STAND_IN = Path(__file__).with_name("stand_in_converter.py")


class StandIn(Environment):
    """Our own Python in place of an environment that would have to be built."""

    def __init__(self) -> None:
        super().__init__(STAND_IN)

    @property
    def python(self) -> Path:
        return Path(sys.executable)

    def is_ready(self) -> bool:
        return True


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    yield from make(job, progress, StandIn())
