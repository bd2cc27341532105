"""What all works of a pipeline take together, and why they would not go together."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from llmcourse.core import checks
from llmcourse.core.errors import ConfigError
from llmcourse.core.plan import Check, Estimate, fail
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
    yield _disk_check(outlooks, estimate)


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


def _disk_check(outlooks: Sequence[Outlook], estimate: Estimate) -> Check:
    """Each result, and each download, may find room by itself and all of them none."""
    unknown = [
        each for each in outlooks if each.state == "waits" or (each.failures and not each.estimate.write)
    ]
    waiting = [each.work.name for each in unknown if each.work.command != PUSH]
    beside = f" without {', '.join(waiting)}" if waiting else ""
    cache = _cache_folder() if estimate.download else None
    check = checks.disk_check(estimate, outlooks[0].work.output, cache)
    return replace(check, what=f"All steps together{beside}: {check.what}")


def _cache_folder() -> Path:
    from llmcourse.core import hub

    return hub.cache_folder()
