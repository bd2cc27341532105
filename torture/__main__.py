"""`python -m torture`: all faults on all commands, counted, and docs/reliability.md from the counts."""

import argparse
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torture import disks, fuzz, hostile, hub_faults, kills, surroundings, tally
from torture.jobs import JOBS, Ground, Job, ground
from torture.running import ROOT
from torture.tally import Tally

Break = Callable[[Ground, Job, random.Random, int], Tally]
# kind of fault -> (what makes it, tries of each command, tries with --quick)
FAULTS: dict[str, tuple[Break, int, int]] = {
    kills.KILL: (kills.kill, 20, 2),
    kills.TERM: (kills.interrupt, 3, 1),
    hub_faults.HUB: (hub_faults.break_hub, 99, 3),
    fuzz.FUZZ: (fuzz.fuzz, 200, 20),
    disks.FULL: (disks.fill, 3, 1),
    disks.READ_ONLY: (disks.read_only, 1, 1),
    surroundings.TWO: (surroundings.together, 2, 1),
    surroundings.CLOCK: (surroundings.clock, 2, 1),
    surroundings.VARIABLES: (surroundings.variables, 99, 1),
    surroundings.NAMES: (surroundings.names, 99, 1),
    hostile.HOSTILE: (hostile.hostile, 99, 3),
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
    given = parser.parse_args()
    commands = [name for name in JOBS if name in given.only] or list(JOBS)
    words = [word for word in given.only if word not in JOBS]
    faults = [name for name in FAULTS if not words or any(word.lower() in name.lower() for word in words)]
    print(f"seed {given.seed}", flush=True)
    rows: list[Tally] = []
    kept = tally.load(given.figures) if given.figures else []
    with tempfile.TemporaryDirectory(prefix="llmcourse-torture-") as folder, ground(Path(folder)) as place:
        for fault in faults:
            for command in commands:
                rows.append(_counted(place, fault, command, given))
                if given.figures:  # as they come, since a part may be cut short
                    tally.save(given.figures, tally.merged(kept, rows))
    if given.figures or not (given.only or given.quick):
        PAGE.write_text(tally.page(tally.merged(kept, rows), ABOUT, _machine()), encoding="utf-8")
    return 0 if all(row.is_good for row in rows) else 1


def _counted(place: Ground, fault: str, command: str, given: argparse.Namespace) -> Tally:
    act, usual, few = FAULTS[fault]
    tries = given.tries or (few if given.quick else usual)
    seed = given.seed
    begin = time.monotonic()
    row = act(place, JOBS[command], random.Random(f"{seed} {fault} {command}"), tries)
    row.seed = seed
    state = f"not tried: {row.skipped}" if row.skipped else "ok" if row.is_good else "WRONG"
    print(f"{fault}, {command}: {row.tries} tries, {state} ({time.monotonic() - begin:.0f} s)", flush=True)
    for sentence in row.wrong:
        print(f"    {sentence}", flush=True)
    return row


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
