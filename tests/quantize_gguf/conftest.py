"""Tiny models as GGUF files, converted once for all processes of a test run, and llama.cpp's steps."""

import json
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.progress import Event, Note, Progress
from llmcourse.quantize_gguf.converter.source import fetch_converter
from llmcourse.testing.models import Family
from tests.quantize_gguf.mixture import build_mixture
from tests.quantize_gguf.outliers import build_with_outliers

Converted = Callable[[str, Callable[[Path], Path]], Path]


@dataclass(frozen=True)
class Done:
    """What one job of a step made and said."""

    folder: Path
    files: tuple[OutputFile, ...]
    events: tuple[Event, ...]
    result: Any

    @property
    def notes(self) -> str:
        return " ".join(event.text for event in self.events if isinstance(event, Note))

    @property
    def paths(self) -> list[Path]:
        """The files, the first shard first."""
        return sorted(self.folder / file.path for file in self.files)


@dataclass(frozen=True)
class Llama:
    """Runs a step of `llmcourse.quantize_gguf.llama` in a child process, with a staging folder of its own."""

    folder: Path

    def run(self, step: str, settings: dict[str, Any], name: str = "job") -> Done:
        """Run one job to its end; a second one of the same name finds what the first one left."""
        files: list[OutputFile] = []
        events: list[Event] = []
        for message in self.messages(step, settings, name):
            if isinstance(message, OutputFile):
                files.append(message)
            else:
                events.append(message)
        result = json.loads((self.folder / name / "scratch" / "result.json").read_text())
        return Done(self.folder / name / "files", tuple(files), tuple(events), result)

    def messages(self, step: str, settings: dict[str, Any], name: str) -> Generator[Event | OutputFile]:
        """What the child says; closing the iterator kills it."""
        files, scratch = self.folder / name / "files", self.folder / name / "scratch"
        files.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(exist_ok=True)
        with (self.folder / name / "log.txt").open("ab") as log:
            environment = {"GGML_NO_BACKTRACE": "1"}
            module = f"llmcourse.quantize_gguf.llama.{step}"
            worker = Worker(module, log, is_verbose=False, loading=None, environment=environment)
            try:
                yield from worker.run(Job({}, settings, {}, files, scratch))
            except GeneratorExit:
                worker._process.kill()
                raise
            finally:
                worker.stop()

    def quantize(self, source: Path, type_name: str, name: str | None = None, **settings: Any) -> Done:
        defaults: dict[str, Any] = {
            "source": str(source),
            "type": type_name,
            "name": f"model.{type_name}.gguf",
            "threads": 2,
            "imatrix": None,
            "tensor_types": {},
            "split": 0,
            "dry_run": False,
        }
        return self.run("quantize", defaults | settings, name or type_name)

    def generate(self, source: Path, type_name: str | None = None) -> str:
        settings = {"source": str(source), "type": type_name, "prompt": "The function returns", "tokens": 12,
                    "threads": 2}  # fmt: skip
        return str(self.run("generate", settings, "generate").result["text"])


@pytest.fixture
def llama(tmp_path: Path) -> Llama:
    return Llama(tmp_path)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """Converts what a builder writes into a folder; every process of the run shares the result."""
    root = tmp_path_factory.getbasetemp()
    shared = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "gguf"
    shared.mkdir(exist_ok=True)

    def convert(name: str, build: Callable[[Path], Path]) -> Path:
        with FileLock(shared / f"{name}.lock"):
            if not (shared / f"{name}.gguf").is_file():
                _convert(build(shared / name), shared, f"{name}.gguf")
        return shared / f"{name}.gguf"

    return convert


def _convert(model: Path, folder: Path, name: str) -> None:
    progress = Progress(lambda event: None)
    converter = fetch_converter(version("llama-cpp-python"), progress)
    scratch = folder / f"{name}.work" / "scratch"
    scratch.mkdir(parents=True)
    settings: dict[str, Any] = {"task": "convert", "name": name, "metadata": {}, "pre_tokenizer": None}
    with (folder / f"{name}.log").open("wb") as log:
        environment = {"LLMCOURSE_CONVERTER": str(converter)}
        worker = Worker("llmcourse.quantize_gguf.converter.process", log, False, None, environment)
        try:
            for _ in worker.run(Job({}, settings, {"model": str(model)}, folder, scratch)):
                pass
        finally:
            worker.stop()


@pytest.fixture(scope="session")
def trained_gguf(converted: Converted, family: Family) -> Path:
    """The trained tiny Llama, unquantized."""
    return converted("trained", lambda _: family.base)


@pytest.fixture(scope="session")
def mixture_gguf(converted: Converted, family: Family) -> Path:
    """A mixture of experts, unquantized; see `mixture.py`."""
    return converted("mixture", lambda folder: build_mixture(folder, family.base))


@pytest.fixture(scope="session")
def outliers_gguf(converted: Converted, family: Family) -> Path:
    """The trained model with activations as large models have them, unquantized; see `outliers.py`."""
    return converted("outliers", lambda folder: build_with_outliers(folder, family.base))


@pytest.fixture(scope="session")
def texts(family: Family, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two texts of a kind that the trained model has not seen: to calibrate on, and to measure on."""
    folder = tmp_path_factory.mktemp("texts")
    prose, code = family.eval_texts["prose"], family.eval_texts["code"]
    halves = {
        "calibration": prose[: len(prose) // 2] + code[: len(code) // 2],
        "held-out": prose[len(prose) // 2 :] + code[len(code) // 2 :],
    }
    for name, text in halves.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.txt" for name in halves}


@pytest.fixture(scope="session")
def tools() -> Path:
    """llama.cpp's own programs, of the same version; tests that compare with them need the folder."""
    folder = os.environ.get("LLAMA_CPP_TOOLS")
    if not folder:
        pytest.skip("LLAMA_CPP_TOOLS names no folder with llama.cpp's programs")
    return Path(folder)
