"""`python -m torture`: all faults on all commands, counted, and docs/reliability.md from the counts."""

import argparse
import multiprocessing
import os
import platform
import queue
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torture import disks, fuzz, hostile, hub_faults, kills, surroundings, tally
from torture.ground import Ground, ground
from torture.jobs import JOBS, Job
from torture.running import ROOT
from torture.tally import Tally

Break = Callable[[Ground, Job, random.Random, int], Tally]
Part = tuple[str, str]  # kind of fault, command
# kind of fault -> (what makes it, tries of each command, tries with --quick); what takes long comes first, so
# that workers end at about the same time
FAULTS: dict[str, tuple[Break, int, int]] = {
    hub_faults.HUB: (hub_faults.break_hub, 99, 3),
    kills.KILL: (kills.kill, 20, 2),
    hostile.HOSTILE: (hostile.hostile, 99, 3),
    fuzz.FUZZ: (fuzz.fuzz, 200, 20),
    kills.TERM: (kills.interrupt, 3, 1),
    disks.FULL: (disks.fill, 3, 1),
    surroundings.NAMES: (surroundings.names, 99, 1),
    surroundings.VARIABLES: (surroundings.variables, 99, 1),
    surroundings.TWO: (surroundings.together, 2, 1),
    surroundings.CLOCK: (surroundings.clock, 2, 1),
    disks.READ_ONLY: (disks.read_only, 1, 1),
}
ABOUT = {
    key: text
    for module in (kills, hub_faults, fuzz, disks, surroundings, hostile)
    for key, text in module.ABOUT.items()
}
PAGE = ROOT / "docs" / "reliability.md"


def main() -> int:
    """Exit 1 where anything did not end as meant; the page says what."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="commands and words of faults")
    parser.add_argument("--quick", action="store_true", help="a few tries of each; writes no page")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    parser.add_argument("--tries", type=int, help="of each fault on each command, where a machine is slow")
    parser.add_argument("--figures", type=Path, help="JSON to keep the counts in, for running it in parts")
    parser.add_argument("--workers", type=int, default=2, help="rows that are made at the same time")
    given = parser.parse_args()
    commands = [name for name in JOBS if name in given.only] or list(JOBS)
    words = [word for word in given.only if word not in JOBS]
    faults = [name for name in FAULTS if not words or any(word.lower() in name.lower() for word in words)]
    print(f"seed {given.seed}", flush=True)
    kept = tally.load(given.figures) if given.figures else []
    rows: list[Tally] = []
    begin = time.monotonic()
    for row in _made([(fault, command) for fault in faults for command in commands], given):
        rows.append(row)
        _tell(row)
        if given.figures:  # as they come, since a part may be cut short
            tally.save(given.figures, tally.merged(kept, rows))
    took = f"{(time.monotonic() - begin) / 60:.0f} minutes with {given.workers} rows at a time"
    print(took, flush=True)
    if given.figures or not (given.only or given.quick):
        where = f"{_machine()}, {'in parts' if given.figures else took}"
        PAGE.write_text(tally.page(tally.merged(kept, rows), ABOUT, list(JOBS), where), encoding="utf-8")
    return 0 if all(row.is_good for row in rows) else 1


def _made(parts: Sequence[Part], given: argparse.Namespace) -> Iterator[Tally]:
    """The rows, as they are finished."""
    waiting: multiprocessing.Queue[Part | None] = multiprocessing.Queue()
    rows: multiprocessing.Queue[Tally] = multiprocessing.Queue()
    for part in (*parts, *[None] * given.workers):
        waiting.put(part)
    with tempfile.TemporaryDirectory(prefix="llmcourse-torture-") as folder:
        workers = [
            multiprocessing.Process(target=_work, args=(Path(folder, str(number)), waiting, rows, given))
            for number in range(given.workers)
        ]
        for worker in workers:
            worker.start()
        for _ in parts:
            yield _next(rows, workers)
        for worker in workers:
            worker.join()


def _next(rows: "multiprocessing.Queue[Tally]", workers: Sequence[multiprocessing.Process]) -> Tally:
    while True:
        try:
            return rows.get(timeout=1)
        except queue.Empty:
            if any(worker.exitcode for worker in workers):
                raise RuntimeError("a worker died") from None


def _work(
    folder: Path,
    parts: "multiprocessing.Queue[Part | None]",
    rows: "multiprocessing.Queue[Tally]",
    given: argparse.Namespace,
) -> None:
    """A worker, with a ground of its own."""
    with ground(folder) as place:
        while (part := parts.get()) is not None:
            rows.put(_counted(place, *part, given))


def _counted(place: Ground, fault: str, command: str, given: argparse.Namespace) -> Tally:
    act, usual, few = FAULTS[fault]
    tries = given.tries or (few if given.quick else usual)
    begin = time.monotonic()
    try:
        row = act(place, JOBS[command], random.Random(f"{given.seed} {fault} {command}"), tries)
    except Exception:  # of the torture itself: the other rows are made all the same
        row = Tally(command, fault, wrong=[traceback.format_exc()])
    row.seed, row.seconds = given.seed, round(time.monotonic() - begin)
    return row


def _tell(row: Tally) -> None:
    state = f"not tried: {row.skipped}" if row.skipped else "ok" if row.is_good else "WRONG"
    print(f"{row.fault}, {row.command}: {row.tries} tries, {state} ({row.seconds} s)", flush=True)
    for sentence in row.wrong:
        print(f"    {sentence}", flush=True)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
