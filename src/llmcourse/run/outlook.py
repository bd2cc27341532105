"""What of a pipeline is still to be made, what that takes in all, and why it would not work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmcourse.core import checks
from llmcourse.core.artifact import Artifact
from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.core.human import human_bytes
from llmcourse.core.machine import existing_parent, free_disk_bytes, same_disk
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Estimate, Plan, fail, failure, ok
from llmcourse.core.planning import Planning
from llmcourse.run.making import Settings, command_of, family_request, publication_of, published
from llmcourse.run.steps import FAMILY_TREE, MAKERS, PUSH, Work

# unchanged: an earlier run made just this; waits: it can be planned only when what it needs is made.
State = Literal["unchanged", "to make", "waits"]


@dataclass(frozen=True)
class Outlook:
    """What is known of one work before anything is made."""

    work: Work
    state: State
    checks: tuple[Check, ...] = ()
    estimate: Estimate = field(default_factory=Estimate)
    summary: tuple[tuple[str, str], ...] = ()
    downloads: Mapping[str, int] = field(default_factory=dict)  # bytes of each model that is not here yet
    artifact: Artifact | None = None  # of what is unchanged
    cost_usd: float = 0.0  # of rented machines, at most

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.status == "fail"]


@dataclass(frozen=True)
class Whole:
    """The plan of all works: each by itself, and their sum."""

    outlooks: tuple[Outlook, ...]
    checks: tuple[Check, ...]
    estimate: Estimate

    @property
    def failures(self) -> list[tuple[str, Check]]:
        """Every check that failed, with the work it is of (the pipeline's own are of none)."""
        own = [("", check) for check in self.checks if check.status == "fail"]
        return [(each.work.name, check) for each in self.outlooks for check in each.failures] + own

    @property
    def exit_code(self) -> int:
        return max((check.exit_code for _, check in self.failures), default=0)


def look(found: Sequence[Work], settings: Settings) -> Whole:
    """Plan every work; those that need what is still to be made are planned on what is known of that."""
    looking = _Looking({work.name: work for work in found}, settings)
    outlooks = tuple(looking.at(work) for work in found)
    estimate = _sum(outlooks)
    return Whole(outlooks, tuple(_whole_checks(outlooks, estimate)), estimate)


class _Looking:
    def __init__(self, named: Mapping[str, Work], settings: Settings) -> None:
        self.named = named
        self.settings = settings
        self.open: set[str] = set()  # works that will be made
        self.foreseen: dict[str, ModelFacts] = {}

    def at(self, work: Work) -> Outlook:
        look: Callable[[Work], Outlook] = self._at_command
        if work.command == FAMILY_TREE:
            look = self._at_family
        elif work.command == PUSH:
            look = self._at_push
        try:
            outlook = look(work)
        except LlmcourseError as error:
            errors = error.errors if isinstance(error, Problems) else (error,)
            outlook = Outlook(work, "to make", tuple(failure(each) for each in errors))
        if outlook.state != "unchanged":
            self.open.add(work.name)
        return outlook

    def _is_foreseen(self, work: Work) -> bool:
        """Whether all that it needs is there or known well enough to plan on."""
        waited_for = [self.named[name] for name in work.needs if name in self.open]
        return all(str(need.output) in self.foreseen for need in waited_for)

    def _at_command(self, work: Work) -> Outlook:
        with command_of(work, self.settings, self._known_to(work), dry_run=True) as command:
            planning = command.planning
            if not self._is_foreseen(work):
                early = tuple(_early_checks(planning))
                return Outlook(work, "waits", early, cost_usd=_cost_usd(planning))
            plan = planning.plan
            self._foresee(work, planning)
            artifact = None if plan.failures or planning.waits else planning.finished
            state: State = "unchanged" if artifact and _is_published(planning, artifact) else "to make"
            return Outlook(
                work, state, plan.checks, _left(plan, artifact), plan.summary, _downloads(planning),
                artifact if state == "unchanged" else None, 0.0 if artifact else _cost_usd(planning),
            )  # fmt: skip

    def _known_to(self, work: Work) -> dict[str, ModelFacts]:
        places = {str(self.named[name].output) for name in work.needs if name in self.open}
        return {place: facts for place, facts in self.foreseen.items() if place in places}

    def _foresee(self, work: Work, planning: Planning) -> None:
        hook = getattr(planning.planner, "foreseen", None)
        facts = hook(planning.config, planning.facts) if hook else None
        if facts is not None:
            self.foreseen[str(work.output)] = facts

    def _at_family(self, work: Work) -> Outlook:
        from llmcourse.family_tree import formats
        from llmcourse.family_tree.publish import card_place
        from llmcourse.family_tree.request import read

        config = read(family_request(work, self.settings))
        for name in config.formats:
            formats.check(name)
        if any(name in self.open for name in work.needs):
            return Outlook(work, "waits")
        rights = (ok("card", card_place(config).repo),) if config.hub else ()
        return Outlook(work, "to make", rights)

    def _at_push(self, work: Work) -> Outlook:
        source = self._source(work)
        if self.settings.no_push:
            return Outlook(work, "unchanged")
        target = published(work, source, self.settings)
        with command_of(target, self.settings, self._known_to(source), dry_run=True) as command:
            planning = command.planning
            if source.name in self.open and not self._is_foreseen(source):
                return Outlook(work, "waits", tuple(_rights(planning)))
            artifact = None if planning.waits else planning.finished
            is_there = artifact is not None and _is_published(planning, artifact)
            found = tuple(check for check in planning.plan.checks if check.name == "push")
            return Outlook(work, "unchanged" if is_there else "to make", found, artifact=artifact)

    def _source(self, work: Work) -> Work:
        return source_of(work, self.named.values(), self.settings)


def source_of(work: Work, others: Iterable[Work], settings: Settings) -> Work:
    """The work whose result a step `push` publishes.

    Raises:
        ConfigError: it names none, or one that makes nothing that could be published.
    """
    place = publication_of(work, settings).artifact
    source = next((other for other in others if str(other.output) == place), None)
    if source is None or source.command not in MAKERS:
        raise ConfigError(
            f"artifact of {work.name} names no step that makes something.",
            "Write a step's name as ${step}.",
            settings.document.where((*work.place, "artifact")),
        )
    return source


def _early_checks(planning: Planning) -> Iterator[Check]:
    """What can be said while the models are not there, and nothing is known of them."""
    yield from checks.library_checks(planning.libraries, planning.extra)
    yield from _rights(planning)


def _rights(planning: Planning) -> Iterator[Check]:
    if planning.push_wish is None:
        return
    if isinstance(planning.target, LlmcourseError):
        yield failure(planning.target, "push")
    else:
        yield ok("push", f"{planning.target.repo}@{planning.target.revision}")


def _is_published(planning: Planning, artifact: Artifact) -> bool:
    """Whether nothing is left to be published of a finished result."""
    if planning.config != planning.config.unpublished() and hasattr(planning.config, "publish"):
        return False  # figures go to places that only the command knows
    if planning.push_wish is None:
        return True
    hub = artifact.hub
    if hub is None or isinstance(planning.target, LlmcourseError):
        return False
    return (hub.repo, hub.revision) == (planning.target.repo, planning.target.revision)


def _cost_usd(planning: Planning) -> float:
    """What a command may spend at most, where it rents machines."""
    config = planning.config.model_dump()
    return float(config["runpod"]["max_cost_usd"]) if config.get("engine") == "runpod" else 0.0


def _left(plan: Plan, artifact: Artifact | None) -> Estimate:
    return Estimate() if artifact else plan.estimate


def _downloads(planning: Planning) -> dict[str, int]:
    models = [model for model in planning.facts.models.values() if isinstance(model, ModelFacts)]
    return {str(model.ref): model.missing_bytes for model in models if model.missing_bytes}


def _sum(outlooks: Sequence[Outlook]) -> Estimate:
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


def _whole_checks(outlooks: Sequence[Outlook], estimate: Estimate) -> Iterator[Check]:
    """Each result may find room by itself and all of them none."""
    waiting = [each.work.name for each in outlooks if each.state == "waits" and each.work.command != PUSH]
    output = outlooks[0].work.output.parent
    free = free_disk_bytes(output)
    needed = estimate.write + estimate.scratch
    cache = _cache_folder() if estimate.download else None
    if cache is not None and same_disk(output, cache):
        needed += estimate.download
    beside = f", without {', '.join(waiting)}" if waiting else ""
    if needed > free:
        yield fail(
            "disk",
            f"All steps together need {human_bytes(needed)} near {existing_parent(output)}{beside}; "
            f"{human_bytes(free)} are free.",
            "Free space, or choose a folder on another disk with -o.",
        )
    else:
        yield ok("disk", f"{human_bytes(needed)} needed by all steps{beside}, {human_bytes(free)} free")


def _cache_folder() -> Path:
    from llmcourse.core import hub

    return hub.cache_folder()
