"""The adapter with the libraries of this Python, for machines with a GPU and without network.

What is missing among them is taken from wheels in the folder $LLMCOURSE_WHEELS.
"""

import os
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from llmcourse.core.artifact import OutputFile
from llmcourse.core.cache import cache_folder
from llmcourse.core.environments import Environment
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.naming import WORKER
from llmcourse.quantize_exl2.run import make


class Present(Environment):
    """A virtual environment that sees our libraries and the wheels; nothing in it is pinned."""

    def __init__(self) -> None:
        super().__init__(WORKER)
        self.folder = cache_folder().absolute() / "environments" / "present"

    def is_ready(self) -> bool:
        return (self.folder / "whole").exists()

    def _build(self) -> None:
        venv.create(self.folder, clear=True)
        (packages,) = self.folder.glob("lib/python3*/site-packages")
        wheels = sorted(Path(os.environ.get("LLMCOURSE_WHEELS", os.devnull)).glob("*.whl"))
        if wheels:
            options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(packages)]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, *wheels], check=True)
        ours = [sysconfig.get_path("purelib"), *site.getsitepackages()]
        (packages / "present.pth").write_text("\n".join(dict.fromkeys(ours)) + "\n")
        (self.folder / "whole").touch()

    def prepare(self, progress: Progress) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):
            if not self.is_ready():
                self._build()


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    yield from make(job, progress, Present())
