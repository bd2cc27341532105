"""Configs, facts and models of two layers; the program with the stand-in; the real library's sources."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
from filelock import FileLock

from llmcourse.core.artifact import OutputFile
from llmcourse.core.cache import cache_folder
from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import DatasetFacts, Facts, FileFacts, Plan, Status
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.plan import plan
from llmcourse.quantize_exl2.results import measurement_problem, model_problem
from llmcourse.testing.hub import LoopbackHub
from tests.model_folders import write_model
from tests.planner_facts import llama_on_the_hub

ROOT = Path(__file__).parents[2]
GPU = Gpu("NVIDIA RTX 4090", 24 * 10**9)
WORKSTATION = Machine(16, 60 * 10**9, 64 * 10**9, (GPU,))
WITHOUT_GPU = replace(WORKSTATION, gpus=())
READY = {"environment": "here", "extension": "here", "uv": "here", "datasets": "here"}
STAND_IN = "tests.quantize_exl2.stand_in_run"
USUAL = "{model: org/tiny, bits_per_weight: [3.0, 4.25]}"


def config(text: str = USUAL) -> Config:
    """A config as it would be read from the file e.yaml."""
    return validate(Config, Config.arrange(parse(dedent(text), "e.yaml"), Path.cwd()))


def model(name: str = "org/tiny", **changes: Any) -> ModelFacts:
    return llama_on_the_hub(name, **{"files_beside": ("tokenizer.json", "README.md")} | changes)


def facts_of(read: Config, **changes: Any) -> Facts:
    """What is known: a workstation where all is installed, a Llama, long texts, a data set like c4."""
    models = {name: model(name) for name in read.models()} | dict(changes.pop("models", {}))
    files = {name: FileFacts(10_000_000, "ab" * 32) for name in read.files()} | dict(changes.pop("files", {}))
    datasets = {name: DatasetFacts(name, "d" * 40, {"en": ("train",)}) for name in read.datasets()}
    present = changes.pop("present", READY)
    machine = changes.pop("machine", WORKSTATION)
    return Facts(machine, models, files, datasets=datasets, present=present, **changes)


def plan_of(text: str = USUAL, **changes: Any) -> Plan:
    """The plan of a config; `changes` are fields of Facts."""
    read = config(text)
    return plan(read, facts_of(read, **changes))


def said(plan: Plan, status: Status = "fail") -> list[str]:
    """What the checks of one status say and advise, each as one line with the check's name before it."""
    return [
        f"{check.name}: {check.what} {check.fix}".rstrip() for check in plan.checks if check.status == status
    ]


def write_llama(folder: Path, **stand_in: Any) -> Path:
    """A model of two layers; `stand_in` is what the stand-in converter does with it."""
    write_model(folder, card="---\nlicense: apache-2.0\n---\n")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stand_in": stand_in}))
    return folder


@dataclass
class Ended:
    """How a run ended: its one document, its events, its log."""

    exit_code: int
    document: Any
    stderr: str

    @property
    def steps(self) -> list[str]:
        """The steps that were begun, in their order."""
        events = [json.loads(line) for line in self.stderr.splitlines() if line.startswith('{"event"')]
        return [event["step"] for event in events if event["event"] == "started"]

    @property
    def sentences(self) -> str:
        error = self.document["error"]
        return f"{error['what']} {error['fix']}"


@dataclass
class Program:
    """The program with an adapter of its own, in a folder of its own."""

    folder: Path
    adapter: str = STAND_IN
    env: dict[str, str] = field(default_factory=dict)

    def start(self, name: str = "e.yaml", *overrides: str, **request: Any) -> "subprocess.Popen[str]":
        asked = {"config": name, "overrides": overrides, "output": "out"} | request
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "LLMCOURSE_"))}
        offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "LLMCOURSE_CACHE": str(self.folder / "cache")}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.quantize_exl2.program", self.adapter, json.dumps(asked)],
            cwd=self.folder, env=kept | offline | {"PYTHONPATH": str(ROOT)} | self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, name: str = "e.yaml", *overrides: str, **request: Any) -> Ended:
        process = self.start(name, *overrides, **request)
        stdout, stderr = process.communicate(timeout=600)
        return Ended(process.returncode, json.loads(stdout) if stdout else None, stderr)

    def logged_in(self, hub: LoopbackHub) -> "Program":
        home = self.folder / "hf-home"
        return Program(self.folder, self.adapter, self.env | hub.env(user="alice", home=home, xet=False))

    @property
    def staging(self) -> Path:
        return self.folder / ".out.llmcourse"

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What the stand-in noted of each call, in their order."""
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


def job(program: Program, name: str) -> dict[str, Any]:
    """The job file of a call; empty where there is none yet, or it is being written."""
    path = program.staging / "scratch" / "work" / name / "job_new.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def killed_when(
    program: Program, condition: Callable[[], bool], signal_number: int = signal.SIGKILL, *arguments: str
) -> int:
    """Start it, and end it when it is so; every process that it started must end by itself."""
    process = program.start(*arguments)
    try:
        wait_for(condition, 100)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal_number)
        process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    return process.returncode


def begun(folder: Path, bits: Sequence[float] = (3.0, 4.25), **stand_in: Any) -> Program:
    """A folder with a model and e.yaml."""
    write_llama(folder / "llama", log=str(folder / "calls"), **stand_in)
    written = {"model": "llama", "bits_per_weight": list(bits)}
    (folder / "e.yaml").write_text(json.dumps(written))
    return Program(folder)


def whole(folder: Path) -> bool:
    """Whether a result holds what its manifest says, by hash."""
    files = json.loads((folder / "llmcourse.json").read_text())["files"]
    return bool(files) and all(OutputFile.of(folder, file["path"]).sha256 == file["sha256"] for file in files)


def figures(out: Path, widths: Sequence[float]) -> list[dict[str, Any]]:
    """Of results that must be whole, what was measured of each, in order."""
    assert whole(out) and measurement_problem(out / "measurement.json", None) is None
    for bits in widths:
        assert model_problem(out / f"{bits}bpw", bits, 6) is None
    found = json.loads((out / "quality.json").read_text())["results"]
    return [found[f"{bits}bpw"] for bits in widths]


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Library:
    """The sources of exllamav2 0.3.2, read and never imported: an import compiles CUDA code."""

    def __init__(self) -> None:
        self.folder = cache_folder() / "exllamav2-0.3.2"
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.folder}.lock"):
            if not self.folder.is_dir():
                self._fetch()

    def _fetch(self) -> None:
        place = self.folder.with_suffix(".partial")
        wanted = ["--no-deps", "--only-binary=:all:", "--quiet", "-d", str(place), "exllamav2==0.3.2"]
        subprocess.run([sys.executable, "-m", "pip", "download", *wanted], check=True)
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".py")]
            archive.extractall(place, names)
        wheel.unlink()
        place.rename(self.folder)

    def source(self, name: str) -> ast.Module:
        return ast.parse((self.folder / "exllamav2" / name).read_text(encoding="utf-8"))
