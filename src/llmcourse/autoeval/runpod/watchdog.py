"""A process that outlives the client and leaves no pod behind.

The client starts it before it rents anything and tells it, a JSON line each on stdin, what to look after:

    {"prefix": …, "secrets": [names]}    pods whose names begin so, and what was kept for them
    {"deadline": Unix time}              when they must be gone
    {"appears_until": Unix time}         until then a pod may appear that nobody was told of
    {"handed_over": true}                the pods go on by themselves; nothing is ended
    {"record": path}                     a file for its process and, at the end, its report

When stdin closes, however that came about, or the deadline is over, it ends all pods of that prefix, looks
that they are gone, and removes the secrets.  It has a session of its own, so Ctrl-C does not reach it.  It
says {"ready": true}, and at the end {"ended": [ids], "left": [ids], "problem": …}.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.autoeval.runpod.client import RunpodClient, RunpodError, WrongKey, key_from_environment
from llmcourse.core.workspace import write_json

_AFTER_S = 1800.0  # how long after the deadline it goes on trying to reach RunPod
_REFUSED_S = 30.0  # how long it tries with a key that is not accepted


def record_of(scratch: Path) -> Path:
    """Where the watchdog of a run leaves {"process", "prefix", "report"}: its client may be gone then."""
    return scratch / "watchdog.json"


def new_record(scratch: Path) -> Path:
    """The same for a run that begins: what an earlier one has left is no word on this one."""
    record_of(scratch).unlink(missing_ok=True)
    return record_of(scratch)


class Watchdog:
    """The client's end: a process that ends the pods when this one ends, or when it is told to."""

    def __init__(self, **message: Any) -> None:
        """Start it, tell it this much, and wait until it watches.

        Raises:
            OSError, RunpodError: it cannot be started.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "llmcourse.autoeval.runpod.watchdog"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
        )  # fmt: skip
        self.tell(**message)
        assert self._process.stdout is not None
        if "ready" not in self._process.stdout.readline():
            self._process.wait()
            raise RunpodError("The process that ends pods could not be started.")

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    def tell(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")

    def release(self, patience_s: float = 120) -> dict[str, Any]:
        """Close its stdin and wait for its report; where RunPod does not answer it goes on without us."""
        try:
            text, _ = self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            problem = f"RunPod does not answer; process {self._process.pid} goes on trying to end them"
            return {"left": [], "problem": problem}
        lines = text.strip().splitlines()
        report: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return report or {"left": [], "problem": "the process that ends them ended without a word"}


@dataclass
class _Watch:
    client: RunpodClient
    prefix: str = ""
    secrets: list[str] = field(default_factory=list)
    record: str = ""
    deadline: float = float("inf")
    appears_until: float | None = None  # None: nothing was ever asked for
    handed_over: bool = False
    ended: list[str] = field(default_factory=list)
    problem: str = ""
    is_refused: bool = False

    def hear(self, line: str) -> None:
        for name, value in json.loads(line).items():
            setattr(self, name, value)

    def write(self, report: dict[str, Any] | None) -> None:
        """Keep it where it is asked for, unless that is of a later client's process by now.

        A folder that is gone, or full, is no reason to leave pods.
        """
        with suppress(OSError, ValueError):
            is_own = report is None or json.loads(Path(self.record).read_text())["process"] == os.getpid()
            if self.record and is_own:
                said = {"process": os.getpid(), "prefix": self.prefix, "report": report}
                write_json(Path(self.record), said)

    def clean(self) -> dict[str, Any]:
        """End everything of this prefix until nothing of it is there."""
        pause, began, empty = 0.2, time.time(), 0
        left: list[str] | None = []
        while self.appears_until is not None:
            left = self._end_all()
            empty = empty + 1 if left == [] else 0
            if empty >= 2 and time.time() >= self.appears_until:
                break
            patience_s = _REFUSED_S if self.is_refused else max(self.deadline - began, 0) + _AFTER_S
            if left is None and time.time() > began + patience_s:
                break
            time.sleep(pause)
            pause = min(pause * 1.5, 15) if left is None else min(pause * 1.5, 2)
        self.problem = self.problem if left is None else ""
        self._remove_secrets()
        return {"ended": self.ended, "left": left or [], "problem": self.problem}

    def _end_all(self) -> list[str] | None:
        """Ids that were there and are told to end; None where RunPod does not answer."""
        try:
            there = [pod.id for pod in self.client.pods(self.prefix)]
            for pod in there:
                self.client.terminate(pod)
                self.ended += [pod] if pod not in self.ended else []
        except RunpodError as error:
            self.problem, self.is_refused = str(error), isinstance(error, WrongKey)
            return None
        return there

    def _remove_secrets(self) -> None:
        try:
            known = self.client.secrets() if self.secrets else {}
            for name in self.secrets:
                if name in known:
                    self.client.delete_secret(known[name])
        except RunpodError as error:
            self.problem = f"a secret was not removed: {error}"


def main() -> int:
    """Watch stdin; see the module."""
    key = key_from_environment()
    if key is None:
        return 3
    watch = _Watch(RunpodClient(key))
    stopped: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    buffer, is_ready = b"", False
    while not stopped and time.time() < watch.deadline:
        readable, _, _ = select.select([0], [], [], max(0.0, min(1.0, watch.deadline - time.time())))
        if not readable:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            watch.hear(line.decode())
        if watch.prefix and not is_ready:
            is_ready = True
            watch.write(None)
            _say({"ready": True})
    if watch.prefix:
        handed_over = {"ended": [], "left": [], "problem": "", "handed_over": True}
        report = handed_over if watch.handed_over else watch.clean()
        watch.write(report)
        _say(report)
    return 0


def _say(message: dict[str, Any]) -> None:
    with suppress(BrokenPipeError, ValueError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    code = main()
    with suppress(BrokenPipeError):
        sys.stdout.close()
    # The interpreter would complain on its way out about a reader that is gone.
    os._exit(code)
