"""What all works of a pipeline take together, and why they would not go together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmcourse.core.errors import ConfigError
from llmcourse.core.human import human_bytes
from llmcourse.core.machine import existing_parent, free_disk_bytes, same_disk
from llmcourse.core.plan import Check, Estimate, fail, ok
from llmcourse.run.outlook import Outlook, Place
from llmcourse.run.steps import PUSH


def sum_of(outlooks: Sequence[Outlook]) -> Estimate:
    """Results add up; one work runs at a time, so memory and intermediate files do not."""
    estimates = [each.estimate for each in outlooks]
    downloads: dict[str, int] = {}
    for each in outlooks:
        downloads |= each.downloads if each.state != "unchanged" else {}
    return Estimate(
        download=sum(downloads.values()),
        write=sum(each.write for each in estimates),
        scratch=max((each.scratch for each in estimates), default=0),
        memory=max((each.memory for each in estimates), default=0),
        vram=max((each.vram for each in estimates), default=0),
    )


def whole_checks(outlooks: Sequence[Outlook], estimate: Estimate) -> Iterator[Check]:
    """What each step by itself would not be refused for."""
    yield from _shared_places(outlooks)
    yield from _disk_checks(outlooks, estimate)


def _shared_places(outlooks: Sequence[Outlook]) -> Iterator[Check]:
    """The second of two steps that publish to one place would find the first one's result there."""
    first: dict[Place, Outlook] = {}
    for outlook in outlooks:
        for place in sorted(outlook.places):
            other = first.setdefault(place, outlook)
            if other is not outlook:
                _, repo, revision = place
                yield fail(
                    "push",
                    f"{other.work.name} and {outlook.work.name} would both publish to {repo}@{revision}.",
                    "Name another repository or branch in one of them; in a matrix, with ${matrix.…} in it.",
                    ConfigError.exit_code,
                )


def _disk_checks(outlooks: Sequence[Outlook], estimate: Estimate) -> Iterator[Check]:
    """Each result, and each download, may find room by itself and all of them none."""
    waiting = [each.work.name for each in outlooks if each.state == "waits" and each.work.command != PUSH]
    output = outlooks[0].work.output.parent
    cache = _cache_folder() if estimate.download else None
    is_together = cache is not None and same_disk(output, cache)
    needed = estimate.write + estimate.scratch + (estimate.download if is_together else 0)
    beside = f", without {', '.join(waiting)}" if waiting else ""
    free = free_disk_bytes(output)
    if needed > free:
        yield fail(
            "disk",
            f"All steps together need {human_bytes(needed)} near {existing_parent(output)}{beside}; "
            f"{human_bytes(free)} are free.",
            "Free space, or choose a folder on another disk with -o.",
        )
    elif cache is not None and not is_together and estimate.download > free_disk_bytes(cache):
        yield fail(
            "disk",
            f"All steps together download {human_bytes(estimate.download)} to {cache}, which has less.",
            "Free space there, or move the cache with HF_HOME.",
        )
    else:
        yield ok("disk", f"{human_bytes(needed)} needed by all steps{beside}, {human_bytes(free)} free")


def _cache_folder() -> Path:
    from llmcourse.core import hub

    return hub.cache_folder()
