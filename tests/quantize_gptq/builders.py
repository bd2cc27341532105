"""Configs and facts for planner tests; jobs for the adapter; texts."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from llmcourse.core.artifact import OutputFile
from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import DatasetFacts, Facts, FileFacts, Plan, Status
from llmcourse.core.progress import Event, Note
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.plan import plan
from tests.planner_facts import LAPTOP, llama_on_the_hub

SIZES = {"hidden": 256, "intermediate": 512, "vocab": 512}


def config(text: str) -> Config:
    """A config as it would be read from the file g.yaml."""
    return validate(Config, Config.arrange(parse(dedent(text), "g.yaml"), Path.cwd()))


def model(name: str = "org/tiny", **changes: Any) -> ModelFacts:
    """One whose columns groups of 128 divide."""
    return llama_on_the_hub(name, scale=128, **changes)


def plan_of(text: str, **changes: Any) -> Plan:
    """The plan of a config; `changes` are fields of Facts."""
    read = config(text)
    models: Mapping[str, Any] = {name: model(name) for name in read.models()} | dict(
        changes.pop("models", {})
    )
    known_files = dict(changes.pop("files", {}))  # by the name as it is written
    files = {
        name: known_files.get(Path(name).name, FileFacts(50_000_000, "ab" * 32)) for name in read.files()
    }
    known = DatasetFacts("allenai/c4", "e" * 40, {"en": ("train", "validation")})
    datasets = dict.fromkeys(read.datasets(), known) | dict(changes.pop("datasets", {}))
    facts = Facts(changes.pop("machine", LAPTOP), models, files, datasets=datasets, **changes)
    return plan(read, facts)


def said(plan: Plan, status: Status = "fail") -> list[str]:
    """What the checks of one status say and advise, each as one line with the check's name before it."""
    return [
        f"{check.name}: {check.what} {check.fix}".rstrip() for check in plan.checks if check.status == status
    ]


@dataclass(frozen=True)
class Made:
    """What one job made and said."""

    folder: Path
    files: tuple[OutputFile, ...]
    events: tuple[Event, ...]

    @property
    def notes(self) -> str:
        return " ".join(event.text for event in self.events if isinstance(event, Note))

    @property
    def quality(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "quality.json").read_text())
        return found

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "config.json").read_text())["quantization_config"]
        return found

    @property
    def digests(self) -> dict[str, str]:
        return {file.path: file.sha256 for file in self.files}


class Adapter:
    """Runs jobs of the adapter in one child, which loads its libraries once."""

    def __init__(self, folder: Path, model: Path, texts: Path) -> None:
        self.folder = folder
        self.model = model
        self.texts = texts
        self.log = (folder / "log.txt").open("wb")
        self.worker = Worker("llmcourse.quantize_gptq.run", self.log, is_verbose=False)

    def stop(self) -> None:
        self.worker.stop()
        self.log.close()

    def run(self, name: str, **keys: Any) -> Made:
        """Run a job; `keys` are those of the config."""
        place = self.folder / name
        files = place / "files"
        files.mkdir(parents=True)
        (place / "scratch").mkdir()
        calibration = {"text": str(self.texts / "calibration.txt"), "samples": 16, "length": 256}
        read = Config(**{"model": str(self.model), "calibration": calibration, **keys})
        settings: dict[str, Any] = {
            "device": "cpu",
            "revision": None,
            "dtype": "bfloat16",
            "parameters": 3_400_000,
        }
        settings["weights"] = [path.name for path in self.model.glob("*.safetensors")]
        job = Job(
            read.model_dump(mode="json"), settings, {read.model: str(self.model)}, files, place / "scratch"
        )
        made: list[OutputFile] = []
        events: list[Event] = []
        for message in self.worker.run(job):
            if isinstance(message, OutputFile):
                made.append(message)
            else:
                events.append(message)
        return Made(files, tuple(made), tuple(events))


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "quantize-gptq"
    folder.mkdir(exist_ok=True)
    return folder
