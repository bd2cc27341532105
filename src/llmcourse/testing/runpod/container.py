"""A pod's container: the start command as a process of this machine, in a folder and a group of its own."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_RESTART_S = 1.0


class Container:
    """Runs the command until it is ended; like RunPod, it starts it anew whenever it exits.

    `python3` is the Python that runs this; HOME and the temporary folder are the container's own disk, which
    goes with it.  Of our environment it sees only the search path of programs.
    """

    def __init__(self, folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.command = list(command)
        self._environment = dict(environment)
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, daemon=True)
        self.starts = 0
        self.log = folder.with_suffix(".log")

    def start(self) -> None:
        for part in ("home", "tmp"):
            (self.folder / part).mkdir(parents=True)
        self.log.touch()
        self._thread.start()

    @property
    def is_there(self) -> bool:
        return not self._ended.is_set()

    def _keep_running(self) -> None:
        home = self.folder / "home"
        # An image has Python and its libraries: here those of this environment.
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        env = {"PATH": path, "HOME": str(home), "TMPDIR": str(self.folder / "tmp"), "LANG": "C.UTF-8"}
        while not self._ended.is_set():
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command, cwd=home, env=env | self._environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
                self.starts += 1
                self._process.wait()
            self._ended.wait(_RESTART_S)

    def crash(self) -> None:
        """Kill what runs, as the system does when memory runs out; RunPod then starts the command anew."""
        if self._process:
            _kill_with_children(self._process.pid)

    def change(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start something else, on the same disk."""
        self.command, self._environment = list(command), dict(environment)
        self.crash()

    def end(self) -> None:
        """Kill all that runs in it, and delete its disk."""
        self._ended.set()
        if self._process:
            _kill_with_children(self._process.pid)
        if threading.current_thread() is not self._thread:
            self._thread.join(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[int]:
        """Ids of what runs in it, groups that its command made included."""
        return _descendants(self._process.pid) if self._process and self._process.poll() is None else []


def _kill_with_children(pid: int) -> None:
    """A container has one namespace of processes: what made a group of its own dies with it too."""
    for each in [*_descendants(pid), pid]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    deadline = time.monotonic() + 5
    with suppress(OSError):  # of a process that is gone, /proc knows nothing
        while time.monotonic() < deadline:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.01)


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found
