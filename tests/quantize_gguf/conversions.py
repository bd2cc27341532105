"""The converter's process, kept for several jobs, and models for it to convert."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.progress import Event, Progress
from llmcourse.quantize_gguf.converter.source import converter_environment, fetch_converter
from llmcourse.testing.bpe import train_bpe
from llmcourse.testing.models import build_random_llama


def converter_folder() -> Path:
    return fetch_converter(version("llama-cpp-python"), Progress(lambda event: None))


@dataclass
class Conversions:
    """Runs jobs of one process; each result is a fresh folder."""

    worker: Worker
    folder: Path
    events: list[Event]

    def run(self, task: str, model: Path, base: Path | None = None, **settings: Any) -> dict[str, Any]:
        """Run a job and return its result.json, if it wrote one."""
        shutil.rmtree(self.files, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.files.mkdir(parents=True)
        inputs = {"model": str(model)} | ({"base": str(base)} if base else {})
        job = Job({}, {"task": task, "name": "m.gguf"} | settings, inputs, self.files, self.scratch)
        self.made: list[OutputFile] = []
        self.events.clear()
        for message in self.worker.run(job):
            if isinstance(message, OutputFile):
                self.made.append(message)
            else:
                self.events.append(message)
        result = self.scratch / "result.json"
        return json.loads(result.read_text()) if result.exists() else {}

    @property
    def files(self) -> Path:
        return self.folder / "job" / "files"

    @property
    def scratch(self) -> Path:
        return self.folder / "job" / "scratch"

    @property
    def converted(self) -> Path:
        return self.files / "m.gguf"

    @property
    def skeleton(self) -> Path:
        return self.scratch / "skeleton.gguf"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def running(folder: Path, converter: Path | None = None) -> Iterator[Conversions]:
    """A process that is ready for jobs."""
    with (folder / "log").open("wb") as log:
        environment = converter_environment(converter or converter_folder())
        module = "llmcourse.quantize_gguf.converter.process"
        worker = Worker(module, log, False, loading=None, environment=environment)
        try:
            yield Conversions(worker, folder, [])
        finally:
            worker.stop()


def build_bpe_model(folder: Path, pattern: str) -> Path:
    """A random model whose tokenizer no converter knows the hash of."""
    return train_bpe(build_random_llama(folder, vocab=1024), pattern)
