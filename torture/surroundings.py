"""What is around a command is odd: another process on its output, its clock, its variables, its names."""

import random
from collections.abc import Iterator
from pathlib import Path

from torture.ground import OUTPUT, Ground, removed
from torture.jobs import Job
from torture.tally import Tally

TWO, CLOCK, VARIABLES, NAMES = "Two on one output", "Clock jumps", "Variables", "Long and odd names"
ABOUT = {
    TWO: (
        "The same command twice at the same time: one ends well, the other does too (it came late) or is "
        "refused with 4, and the result is whole. A family tree has no lock; both end well."
    ),
    CLOCK: (
        "libfaketime makes all clocks jump a year ahead, or to 2001, at a random moment: exit 0 and the same "
        "result. (Its way to leave the monotonic clock alone makes every time.sleep fail, so it is not used.)"
    ),
    VARIABLES: (
        "HOME unset, TMPDIR missing, no PATH, a locale without UTF-8, HOME that is no folder: exit 0, or 3 "
        "or 4 with both sentences."
    ),
    NAMES: (
        "Outputs with spaces, a newline, quotes, other alphabets, a leading dash, a name of 200 bytes: exit"
        " 0 and the same result; a name of 300 bytes and a path of over 4096: 2 or 4."
    ),
}
_LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"
_VARIABLES: tuple[tuple[str, dict[str, str | None]], ...] = (
    ("HOME unset", {"HOME": None}),
    ("TMPDIR missing", {"TMPDIR": "/nowhere/at/all"}),
    ("no PATH", {"PATH": ""}),
    ("ASCII", {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    ("HOME is a file", {"HOME": "/dev/null", "LLMCOURSE_CACHE": None}),
    ("caches under a file", {"LLMCOURSE_CACHE": "/dev/null/cache"}),
)


def together(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, TWO)
    undisturbed = ground.expected(job)
    for _ in range(tries):
        place = ground.place(job)
        first = place.start(job.arguments())
        first.is_over_after(chance.uniform(0, undisturbed.seconds))
        second = place.start(job.arguments())
        ends = [started.ended() for started in (first, second)]
        tally.see(ends[0], [0, 4], "first")
        tally.check(ends[1], [0, 4], "second")
        if 0 not in [ended.code for ended in ends]:
            tally.wrong.append("neither ended well")
        tally.compare(job.digests(place.folder / OUTPUT), undisturbed.digests)
        tally.left(place.leftovers(job.known))
        removed(place.folder)
    return tally


def clock(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, CLOCK)
    found = sorted(Path("/").glob(_LIBRARIES.lstrip("/")))
    if not found:
        tally.skipped = "libfaketime is not installed (Debian: apt install libfaketime)"
        return tally
    undisturbed = ground.expected(job)
    for jump in ("+365d", "@2001-01-01 00:00:00")[:tries]:
        place = ground.place(job)
        offset = place.folder.with_name(f"{place.folder.name}.clock")
        offset.write_text("+0d\n")
        fake = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }
        started = place.start(job.arguments(), fake)
        started.is_over_after(chance.uniform(0.3, undisturbed.seconds))
        offset.write_text(f"{jump}\n")
        tally.see(started.ended(), [0], jump)
        tally.compare(job.digests(place.folder / OUTPUT), undisturbed.digests, jump)
        tally.left(place.leftovers(job.known), jump)
        removed(place.folder)
    return tally


def variables(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, VARIABLES)
    undisturbed = ground.expected(job)
    for about, env in _VARIABLES[:tries]:
        place = ground.place(job)
        ended = place.run(job.arguments(), env)
        tally.see(ended, [0, 3, 4], about)
        if ended.code == 0:
            tally.compare(job.digests(place.folder / OUTPUT), undisturbed.digests, about)
        staging = set() if ended.code == 0 else {job.staging}
        tally.left(place.leftovers(job.known | staging), about)
        removed(place.folder)
    return tally


def _names(chance: random.Random) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "a b\nc", (0,)
    yield "mødel 模型 💥", (0,)
    yield "-o", (0,)
    yield 'it\'s "quoted" $HOME `x` {a} [b] *', (0,)
    yield "n" * 200, (0,)
    yield "n" * 300, (2, 4)
    yield "/".join(["d" * 200] * 22), (2, 4)


def names(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    tally = Tally(job.command, NAMES)
    undisturbed = ground.expected(job)
    for name, codes in list(_names(chance))[:tries]:
        place = ground.place(job)
        output = f"./{name}" if name.startswith("-") else name
        about = repr(name[:40])
        ended = place.run(job.arguments(output))
        tally.see(ended, codes, about)
        if ended.code == 0:
            tally.compare(job.digests(place.folder / output), undisturbed.digests, about)
        tally.left(
            place.leftovers(job.known | {name.split("/")[0]} if 0 in codes else job.known),
            about,
        )
        removed(place.folder)
    return tally
