"""Disks that are full or read-only: small file systems in memory, mounted for the purpose."""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.ground import OUTPUT, Ground, removed
from torture.jobs import Job
from torture.tally import Tally

FULL, READ_ONLY = "Full disk", "Read-only"
ABOUT = {
    FULL: (
        "The output is on a disk in memory that has room for a random part of what the job writes, for all "
        "the plan knows enough: it is filled while the job runs. Exit 4 or 5 with both sentences, or 0 "
        "where it was late; with the room back, the same command ends well."
    ),
    READ_ONLY: (
        "The output on a read-only disk: exit 4. Then the cache of llmcourse on one: exit 0, since a cache "
        "costs time and nothing else, or 4."
    ),
}
_SPACE = 400_000_000  # more than the plan of any job here wants


@contextmanager
def _disk(folder: Path, options: str) -> Iterator[bool]:
    """A disk in memory at `folder`; whether this machine allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    is_mounted = (
        os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, FULL)
    undisturbed = ground.expected(job)
    for _ in range(tries):
        place = ground.place(job)
        disk = place.folder / "disk"
        with _disk(disk, f"size={_SPACE}") as is_mounted:
            if not is_mounted:
                tally.skipped = "this machine does not allow mounting"
                return tally
            arguments = job.arguments(f"disk/{OUTPUT}")
            moment = chance.uniform(0.2, undisturbed.seconds)
            started = place.start(arguments)
            started.is_over_after(moment)
            _fill(disk / "filler")
            tally.see(started.ended(), [0, 4, 5], f"filled at {moment:.2f} s")
            (disk / "filler").unlink()
            tally.left([f"process {left.pid}" for left in place.processes(10)], f"filled at {moment:.2f} s")
            tally.check(place.run(arguments), [0], f"after it was filled at {moment:.2f} s")
            tally.compare(job.digests(disk / OUTPUT), undisturbed.digests)
            tally.left(sorted({path.name for path in disk.iterdir()} - {OUTPUT}), "on the disk")
        tally.left(place.leftovers(job.known | {"disk"}))
        removed(place.folder)
    return tally


def _fill(path: Path) -> None:
    """Take what is free, to the last byte that can be had."""
    with path.open("wb", buffering=0) as file:
        for size in (1_000_000, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def read_only(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, READ_ONLY)
    undisturbed = ground.expected(job)
    place = ground.place(job)
    with _disk(place.folder / "disk", "ro") as is_mounted:
        if not is_mounted:
            tally.skipped = "this machine does not allow mounting"
            return tally
        tally.see(place.run(job.arguments(f"disk/{OUTPUT}")), [4], "output")
    removed(place.folder)
    place = ground.place(job)
    cache = Path(place.env["LLMCOURSE_CACHE"])
    kept = {path.name: path.readlink() for path in cache.iterdir() if path.is_symlink()}
    with _disk(cache, f"size={_SPACE}"):
        for name, target in kept.items():
            (cache / name).symlink_to(target)
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        ended = place.run(job.arguments())
        tally.see(ended, [0, 4], "cache")
        if ended.code == 0:
            tally.compare(job.digests(place.folder / OUTPUT), undisturbed.digests, "cache")
        staging = set() if ended.code == 0 else {job.staging}
        tally.left(place.leftovers(job.known | staging), "cache")
    removed(place.folder)
    return tally
