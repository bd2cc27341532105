"""A client process, a RunPod and a Hub on this machine, and what went wrong on purpose."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llmcourse
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.runpod import LoopbackRunpod

SOURCES = str(Path(llmcourse.__file__).parent.parent)
HERE = Path(__file__).parent
STAND_IN = str(HERE / "runpod_stand_in.py")
REPOSITORY = "alice/llmcourse-results"
# Everything that takes minutes in earnest takes seconds here.
PACE = {
    "poll_s": 0.2, "lease_s": 6, "renew_s": 1, "report_s": 2, "looks": [0.2, 0.4, 0.8], "least_hours": 0.0003,
    "patience_s": 3, "late_s": 3, "command": ["python3", STAND_IN],
}  # fmt: skip


@dataclass
class Outcome:
    """How a client ended: `results` by (model, task), errors included."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float = 0.0
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def results(self) -> dict[tuple[str, str], dict[str, Any]]:
        found = [line["result"] for line in self.lines if "result" in line]
        return {(item["model"], item["task"]): item for item in found}

    @property
    def error(self) -> dict[str, Any]:
        return next((line["error"] for line in self.lines if "error" in line), {})

    @property
    def notes(self) -> str:
        events = [line["event"] for line in self.lines if "event" in line]
        return "\n".join(event["text"] for event in events if event["event"] == "note")


class Client:
    """The client while it runs, and what it has said so far."""

    def __init__(self, told: Mapping[str, Any], env: Mapping[str, str], folder: Path) -> None:
        self._begin = time.monotonic()
        self._stdout, self._stderr = folder / "client.out", folder / "client.err"
        with self._stdout.open("w") as out, self._stderr.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(HERE / "runpod_client.py"), json.dumps(told)],
                env=dict(env), stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
            )  # fmt: skip

    def said(self) -> str:
        return self._stdout.read_text()

    def watchdogs(self) -> list[int]:
        """Ids of its processes that end pods."""
        found = []
        for process in _processes(b"runpod.watchdog"):
            with suppress(OSError):
                stat = (Path("/proc") / str(process) / "stat").read_text()
                found += [process] if int(stat.rpartition(")")[2].split()[1]) == self.process.pid else []
        return found

    def ended(self, timeout_s: float = 120) -> Outcome:
        self.process.wait(timeout_s)
        text = self._stdout.read_text()
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        seconds = time.monotonic() - self._begin
        return Outcome(self.process.returncode, text, self._stderr.read_text(), seconds, lines)


def _processes(named: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and named in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@dataclass
class Rig:
    folder: Path
    hub: LoopbackHub
    runpod: LoopbackRunpod

    @classmethod
    def of(cls, folder: Path) -> "Rig":
        folder.mkdir(exist_ok=True)
        return cls(folder, LoopbackHub(folder / "hub"), LoopbackRunpod(folder / "runpod"))

    def __enter__(self) -> "Rig":
        self.hub.start()
        self.runpod.start()
        self.runpod.account.environment |= {"LLMCOURSE_SOURCES": SOURCES}
        return self

    def __exit__(self, *_: object) -> None:
        # One that cannot reach RunPod goes on trying for half an hour, as it should.
        mark = f"RUNPOD_API_BASE_URL={self.runpod.endpoint}".encode()
        for process in _processes(b"runpod.watchdog"):
            with suppress(OSError):
                if mark in (Path("/proc") / str(process) / "environ").read_bytes().split(b"\0"):
                    os.kill(process, signal.SIGKILL)
        self.runpod.stop()
        self.hub.stop()

    def env(self, **changes: str | None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "RUNPOD_"))}
        env = kept | self.runpod.env | self.hub.env(home=self.folder / "home")
        env |= {"PYTHONPATH": os.pathsep.join([SOURCES, os.environ.get("PYTHONPATH", "")])}
        env |= {"LLMCOURSE_PACKAGE": SOURCES}
        for name, value in changes.items():
            env.pop(name, None)
            env |= {} if value is None else {name: value}
        return env

    def start(
        self,
        groups: Mapping[str, list[str]],
        *,
        wish: Mapping[str, Any] | None = None,
        models: tuple[str, ...] = ("me/model",),
        env: Mapping[str, str | None] | None = None,
        pace: Mapping[str, Any] | None = None,
    ) -> Client:
        suite = {
            "name": "trial", "version": 1, "note": "",
            "groups": [
                {"name": name, "tasks": [{"name": task} for task in tasks], "metric": ["acc"]}
                for name, tasks in groups.items()
            ],
        }  # fmt: skip
        runpod = {"max_hours": 30 / 3600, "max_cost_usd": 5} | dict(wish or {})
        config = {"model": list(models), "suite": "trial", "engine": "runpod", "runpod": runpod}
        told = {
            "config": config,
            "suite": suite,
            "scratch": str(self.folder / "scratch"),
            "pace": PACE | dict(pace or {}),
        }
        return Client(told, self.env(**dict(env or {})), self.folder)

    def wait_for(self, what: Callable[[], object], timeout_s: float = 60) -> None:
        until = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < until, "it did not come about"
            time.sleep(0.02)

    def tokens_in_the_open(self, outcome: Outcome) -> list[str]:
        """Where a token stands that nobody should read: what pods were told, logs, the Hub, the output."""
        tokens = [self.hub.tokens["alice"], self.runpod.key]
        pods = [*self.runpod.pods, *self.runpod.ended]
        texts = {f"environment of {pod.name}": json.dumps(dict(pod.env)) for pod in pods}
        texts |= {call.field: call.body for call in self.runpod.calls if call.field != "secretCreate"}
        texts |= {"output": outcome.stdout + outcome.stderr}
        repo = self.hub.repo(REPOSITORY, "dataset")
        for branch in repo.branches() if repo.exists() else ():
            texts |= {f"{branch}/{path}": repo.read(path, branch).decode() for path in repo.files(branch)}
        return [where for where, text in texts.items() if any(token in text for token in tokens)]
