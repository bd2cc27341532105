"""Run a job as users do, in a session of its own with a TMPDIR of its own, and see what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil

ROOT = Path(__file__).parents[1]
_MARK = "LLMCOURSE_TORTURE"
_LONGEST_S = 240
# What a developer's own shell may hold and a job must not see.
_UNWANTED = ("HF_", "LLMCOURSE_", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")


@dataclass(frozen=True)
class Ended:
    """How a process ended; `code` is negative for a signal, None where it was late and was stopped."""

    code: int | None
    stdout: str
    stderr: str

    @property
    def is_traceback(self) -> bool:
        """Whether it shows one of its own; what it quotes of a library's log is indented."""
        return re.search(r"^Traceback \(most", f"{self.stdout}\n{self.stderr}", re.MULTILINE) is not None

    @property
    def is_told(self) -> bool:
        """Done, interrupted, or refused with the two sentences."""
        return self.code in (0, 130) or ("error: " in self.stderr and "fix: " in self.stderr)

    @property
    def last_words(self) -> str:
        return self.stderr.strip()[-600:]


@dataclass
class Place:
    """A folder in which one command is run again and again; everything it starts is known by a mark."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.temporary = self.folder.with_name(f"{self.folder.name}.tmp")
        self.temporary.mkdir(exist_ok=True)

    def environment(self, more: Mapping[str, str | None]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_UNWANTED)}
        paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        ours = {"TMPDIR": str(self.temporary), _MARK: self.mark, "PYTHONPATH": paths}
        merged = {**kept, **ours, **self.env, **more}
        return {key: value for key, value in merged.items() if value is not None}

    def start(self, arguments: tuple[str, ...], env: Mapping[str, str | None] | None = None) -> "Started":
        return Started(self, arguments, env or {})

    def run(self, arguments: tuple[str, ...], env: Mapping[str, str | None] | None = None) -> Ended:
        return self.start(arguments, env).ended()

    def processes(self, patience_s: float = 0.0) -> list[psutil.Process]:
        """Those that a run here started and that are still there after so many seconds."""
        deadline = time.monotonic() + patience_s
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    def _alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # it has ended, or is somebody else's
                continue
        return found

    def leftovers(self, known: set[str]) -> list[str]:
        """Names beside what is known, in TMPDIR too, and processes."""
        beside = sorted({path.name for path in self.folder.iterdir()} - known)
        # torch has a cache of its own for each user there, whatever it is used for.
        ours = [path.name for path in self.temporary.iterdir() if not path.name.startswith("torchinductor_")]
        temporary = sorted(f"TMPDIR/{name}" for name in ours)
        return [*beside, *temporary, *(f"process {process.pid}" for process in self.processes(10))]


class Started:
    """A run under way; its streams are files, so that nothing waits for a reader."""

    def __init__(self, place: Place, arguments: tuple[str, ...], env: Mapping[str, str | None]) -> None:
        logs = place.temporary.with_name(f"{place.temporary.name}-logs")
        logs.mkdir(exist_ok=True)
        self._streams = [logs / f"{uuid4().hex}.{name}" for name in ("out", "err")]
        with self._streams[0].open("wb") as out, self._streams[1].open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], cwd=place.folder, env=place.environment(env),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip
        self._begun = time.monotonic()

    def is_over_after(self, seconds: float) -> bool:
        """Wait until so long after the start; whether it ended before."""
        try:
            self.process.wait(max(0.0, self._begun + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: int, is_for_group: bool = False) -> None:
        if is_for_group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def ended(self, seconds: float = _LONGEST_S) -> Ended:
        code: int | None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            code = None
        texts = [path.read_text("utf-8", "replace") for path in self._streams]
        return Ended(code, *texts)
