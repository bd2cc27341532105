"""kill -9 of the program at random moments, and SIGTERM and SIGINT as CI systems and people send them."""

import random
import signal
from pathlib import Path

from torture.ground import OUTPUT, Digests, Ground, removed
from torture.jobs import Job
from torture.running import Place, Started
from torture.tally import Tally

KILL = "kill -9"
TERM = "SIGTERM and Ctrl-C"
ABOUT = {
    KILL: (
        "The parent is killed at a random moment of the time that the job takes; its children must end by "
        "themselves, nothing may lie under the final name that is not whole, and the same command goes on. "
        "A run that ends before its kill is compared and begun anew, until all kills have hit."
    ),
    TERM: (
        "SIGTERM to the parent alone and to its whole group, SIGINT to the group: exit 130 within ten "
        "seconds, and the same command goes on."
    ),
}


def kill(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, KILL)
    undisturbed = ground.expected(job)
    place = ground.place(job)
    while tally.tries < tries:
        moment = chance.uniform(0, undisturbed.seconds)
        started = place.start(job.arguments())
        if not started.is_over_after(moment):
            started.send(signal.SIGKILL)
        ended = started.ended()
        if ended.code == 0:  # it was quicker, be it by a hair
            tally.check(ended, [0], f"ended before {moment:.2f} s")
            _finished(place, job, undisturbed.digests, tally)
            place = ground.place(job)
            continue
        tally.see(ended, [-signal.SIGKILL], f"killed at {moment:.2f} s")
        tally.left([f"process {left.pid}" for left in place.processes(15)], f"killed at {moment:.2f} s")
        _half_made(place.folder / OUTPUT, undisturbed.digests, job, tally, f"killed at {moment:.2f} s")
    tally.check(place.run(job.arguments()), [0], "after the last kill")
    _finished(place, job, undisturbed.digests, tally)
    return tally


def _half_made(output: Path, expected: Digests, job: Job, tally: Tally, about: str) -> None:
    """What has its final name already is whole; a family tree's files have theirs one by one."""
    made = job.digests(output) if output.exists() else {}
    if not made.items() <= expected.items() or (job.has_five_steps and made and made != expected):
        tally.wrong.append(f"{about}: half a result under the final name")


def _finished(place: Place, job: Job, expected: Digests, tally: Tally) -> None:
    tally.compare(job.digests(place.folder / OUTPUT), expected)
    tally.left(place.leftovers(job.known))
    removed(place.folder)


def interrupt(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, TERM)
    undisturbed = ground.expected(job)
    kinds = [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)]
    for number in range(tries):
        kind, is_for_group = kinds[number % len(kinds)]
        place = ground.place(job)
        _interrupted(
            place.start(job.arguments()), chance.uniform(0.3, undisturbed.seconds), kind, is_for_group, tally
        )
        tally.left([f"process {left.pid}" for left in place.processes(10)], kind.name)
        tally.check(place.run(job.arguments()), [0], f"after {kind.name}")
        _finished(place, job, undisturbed.digests, tally)
    return tally


def _interrupted(
    started: Started, moment: float, kind: signal.Signals, is_for_group: bool, tally: Tally
) -> None:
    about = f"{kind.name} to {'the group' if is_for_group else 'the parent'} at {moment:.2f} s"
    if not started.is_over_after(moment):
        started.send(kind, is_for_group)
    tally.see(started.ended(10), [130, 0], about)
