"""Steps of a quantization in processes of their own: llama.cpp ends the whole process on bad input.

Each step has a folder with its scratch and its log, so that a failure can show the end of the log that
belongs to it, and several steps can run side by side.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.progress import Event, Progress
from llmcourse.quantize_gguf.converter.source import converter_environment

_LLAMA = "llmcourse.quantize_gguf.llama"
_CONVERTER = "llmcourse.quantize_gguf.converter.process"
# A backtrace would start a debugger, which takes seconds and says nothing that the log does not.
_LLAMA_ENVIRONMENT = {"GGML_NO_BACKTRACE": "1"}


@dataclass
class Child:
    """One process, for one step after another; `folder` is made and holds its scratch and its log.

    With `shares_log` it writes into the log of this process, and may move from folder to folder.
    `niceness` is that of the process: among those that want the processors, lower ones get more of them.
    """

    module: str
    folder: Path
    environment: Mapping[str, str]
    shares_log: bool = False
    loading: str | None = None
    niceness: int = 0
    _log: IO[bytes] = field(init=False)
    _worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        self.move(self.folder)
        place = os.devnull if self.shares_log else self.folder / "log.txt"
        self._log = Path(place).open("wb")  # noqa: SIM115  (open as long as the process)
        self._worker = Worker(self.module, self._log, self.shares_log, self.loading, self.environment)
        self._worker.renice(self.niceness)

    def move(self, folder: Path) -> None:
        """Work in another folder from the next job on."""
        self.folder = folder
        self.scratch.mkdir(parents=True, exist_ok=True)

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def run(
        self, settings: dict[str, Any], files: Path, inputs: dict[str, str] | None = None
    ) -> Iterator[Event | OutputFile]:
        """Send a job and yield what comes back.

        Raises:
            LlmcourseError: as `Worker.run`; a LibraryError names this step's log.
        """
        try:
            yield from self._worker.run(Job({}, settings, inputs or {}, files, self.scratch))
        except LibraryError as error:
            if not self.shares_log:
                error.log = self.folder / "log.txt"
            raise

    def result(self) -> dict[str, Any]:
        """What the last job found."""
        data: dict[str, Any] = json.loads((self.scratch / "result.json").read_text(encoding="utf-8"))
        return data

    def stop(self) -> None:
        self._worker.stop()
        self._log.close()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def llama(step: str, folder: Path, niceness: int = 0) -> Child:
    """A process for `step` of llmcourse.quantize_gguf.llama."""
    return Child(f"{_LLAMA}.{step}", folder, _LLAMA_ENVIRONMENT, niceness=niceness)


def documents(folder: Path) -> Child:
    """A process that reads calibration data row by row."""
    return Child("llmcourse.quantize_gguf.documents", folder, {})


def converter(source: Path, folder: Path, trust_remote_code: bool) -> Child:
    """A process with llama.cpp's converter of the folder `source`, which takes seconds to load."""
    environment = _LLAMA_ENVIRONMENT | converter_environment(source, trust_remote_code)
    return Child(_CONVERTER, folder, environment, shares_log=True, loading="load llama.cpp's converter")


def forward(messages: Iterator[Event | OutputFile], progress: Progress) -> list[OutputFile]:
    """Pass a child's events on; its files are returned."""
    files = []
    for message in messages:
        if isinstance(message, OutputFile):
            files.append(message)
        else:
            progress.emit(message)
    return files
