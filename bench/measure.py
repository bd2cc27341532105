"""Run a command and measure it: wall time, and the peak of anonymous memory of all its processes.

Anonymous memory leaves out mapped input files, which the system drops when it needs room.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

_SAMPLE_S = 0.02


@dataclass(frozen=True)
class Measure:
    seconds: float
    peak_bytes: int


def run(command: Sequence[str], env: dict[str, str] | None = None) -> Measure:
    """Run to the end.

    Raises:
        RuntimeError: the command failed; the message holds the end of its stderr.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous_bytes(process.pid))
        time.sleep(_SAMPLE_S)
    seconds = time.perf_counter() - begin
    assert process.stderr is not None
    errors = process.stderr.read().decode(errors="replace")
    process.stderr.close()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors[-2000:]}")
    return Measure(seconds, peak)


def _anonymous_bytes(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_anonymous_of(process.pid) for process in family)


def _anonymous_of(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # it has ended meanwhile
    line = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0 kB")
    return int(line.split()[1]) * 1024


def compare(ours: Callable[[], Measure], theirs: Callable[[], Measure], runs: int) -> tuple[Measure, Measure]:
    """Medians of alternating runs, so that both meet the same state of the machine."""
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return _median([pair[0] for pair in pairs]), _median([pair[1] for pair in pairs])


def _median(measures: Sequence[Measure]) -> Measure:
    return Measure(
        median(measure.seconds for measure in measures), int(median(m.peak_bytes for m in measures))
    )


def main(about: str | None, compare: Callable[[Path, int], None]) -> None:
    """A bench's program: `compare` gets a folder, kept where --folder names it, and how many runs."""
    main_of_parts(about, {"all": compare})


def main_of_parts(
    about: str | None, parts: Mapping[str, Callable[[Path, int], None]], usual: Sequence[str] = ()
) -> None:
    """The same for a bench of parts: those that the command line names, else the usual ones or all."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("parts", nargs="*", default=list(usual or parts), help=", ".join(parts))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to keep the models (default: temporary)")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="llmcourse-bench-"))
    folder.mkdir(exist_ok=True)
    try:
        for part in arguments.parts:
            parts[part](folder.absolute(), arguments.runs)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)
