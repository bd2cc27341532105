"""What of a pipeline is still to be made, what that takes, and why it would not work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from llmcourse.core import checks
from llmcourse.core.artifact import Artifact
from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Estimate, Plan, failure, ok
from llmcourse.core.planning import Planning
from llmcourse.core.workspace import Workspace
from llmcourse.run.making import (
    Settings,
    command_of,
    config_of,
    family_request,
    publication_of,
    published,
)
from llmcourse.run.outlook import Outlook, Place, State, Whole
from llmcourse.run.steps import FAMILY_TREE, MAKERS, PUSH, Work
from llmcourse.run.sums import sum_of, whole_checks


def look(found: Sequence[Work], settings: Settings) -> Whole:
    """Plan every work; those that need what is still to be made are planned on what is known of that."""
    looking = _Looking({work.name: work for work in found}, settings)
    outlooks = tuple(looking.at(work) for work in found)
    estimate = sum_of(outlooks)
    return Whole(outlooks, tuple(whole_checks(outlooks, estimate)), estimate)


class _Looking:
    def __init__(self, named: Mapping[str, Work], settings: Settings) -> None:
        self.named = named
        self.settings = settings
        self.open: set[str] = set()  # works that will be made
        self.foreseen: dict[str, ModelFacts] = {}  # by their folders, and repositories
        self.published: dict[str, str] = {}  # references of what will be on the Hub, by their folders

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
        config = config_of(work, self.settings, self.published)
        with command_of(work, self.settings, config, self._known_to(work)) as command:
            planning = command.planning
            self._check_wishes(work, planning)
            if not self._is_foreseen(work):
                early = tuple(_early_checks(planning))
                return Outlook(work, "waits", early, cost_usd=_cost_usd(planning), places=_places(planning))
            plan = planning.plan
            artifact = None if plan.failures or planning.waits else planning.finished
            self._foresee(work, planning, artifact)
            state: State = "unchanged" if artifact and _is_published(planning, artifact) else "to make"
            return Outlook(
                work, state, plan.checks, _left(plan, artifact), plan.summary, _downloads(planning),
                artifact if state == "unchanged" else None, 0.0 if artifact else _cost_usd(planning),
                _places(planning, plan.pieces),
                config.was_left(Workspace(planning.output, planning.fingerprint).scratch),
                plan.is_estimated,
            )  # fmt: skip

    def _check_wishes(self, work: Work, planning: Planning) -> None:
        if (work.private or work.revision) and not planning.push_wish and not self.settings.no_push:
            key = "private" if work.private else "revision"
            raise ConfigError(
                f"{work.name} says {key}: and is not published.",
                f"Add push: user/name, or take {key}: out.",
                self.settings.document.where(("steps", work.step, key)),
            )

    def _known_to(self, work: Work) -> dict[str, ModelFacts]:
        folders = [str(self.named[name].output) for name in work.needs if name in self.open]
        places = [*folders, *(_repo(self.published[each]) for each in folders if each in self.published)]
        return {place: self.foreseen[place] for place in places if place in self.foreseen}

    def _foresee(self, work: Work, planning: Planning, artifact: Artifact | None) -> None:
        """What those that read its result may know of it."""
        hook = getattr(planning.planner, "foreseen", None)
        facts = hook(planning.config, planning.facts) if hook else None
        folder = str(work.output)
        if facts is not None:
            self.foreseen[folder] = facts
        if planning.push_wish and planning.config.HUB_KIND == "model":
            target = planning.target
            if artifact and artifact.hub:
                self.published[folder] = artifact.reference
            elif not isinstance(target, LlmcourseError):
                self.published[folder] = f"hf://{target.repo}@{target.revision}"
                if facts is not None:
                    self.foreseen[target.repo] = facts

    def _at_family(self, work: Work) -> Outlook:
        from llmcourse.family_tree import formats
        from llmcourse.family_tree.publish import card_place
        from llmcourse.family_tree.request import read

        config = read(family_request(work, self.settings))
        for name in config.formats:
            formats.check(name)
        waits = any(name in self.open for name in work.needs)
        if not config.hub:
            return Outlook(work, "waits" if waits else "to make")
        source = next((self.named[name] for name in work.needs if self._makes(name, config.model[0])), None)
        if source is None or source.name not in self.open or config.hub.repo:
            place = card_place(config)
            return Outlook(work, "waits" if waits else "to make", (ok("card", place.repo),))
        if str(source.output) not in self.published:
            raise ConfigError(
                f"{work.name} puts the tree into the card of {source.name}, which is not published.",
                f"Add push: to {source.name}, or hub: {{repo: user/name}} to {work.name}, or take hub out.",
                self.settings.document.where((*work.place, "hub")),
            )
        return Outlook(work, "waits", (ok("card", _repo(self.published[str(source.output)])),))

    def _makes(self, name: str, folder: str) -> bool:
        return str(self.named[name].output) == folder

    def _at_push(self, work: Work) -> Outlook:
        source = self._source(work)
        if self.settings.no_push:
            return Outlook(work, "not published")
        target = published(work, source, self.settings)
        config = config_of(target, self.settings, self.published)
        with command_of(target, self.settings, config, self._known_to(source)) as command:
            planning = command.planning
            if source.name in self.open and not self._is_foreseen(source):
                return Outlook(work, "waits", tuple(_rights(planning)), places=_places(planning))
            artifact = None if planning.waits else planning.finished
            is_there = artifact is not None and _is_published(planning, artifact)
            found = tuple(check for check in planning.plan.checks if check.name == "push")
            state: State = "unchanged" if is_there else "to make"
            places = _places(planning, planning.plan.pieces)
            return Outlook(work, state, found, artifact=artifact, places=places)

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


def _repo(reference: str) -> str:
    return reference.removeprefix("hf://").partition("@")[0]


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


def _places(planning: Planning, pieces: Iterable[str] = ()) -> frozenset[Place]:
    if planning.push_wish is None:
        return frozenset()
    wishes = [planning.push_wish, *planning.places(pieces).values()]
    targets = [planning.target_at(wish) for wish in wishes]  # with the user's name, where none was written
    kind = planning.config.HUB_KIND
    return frozenset(
        (kind, target.repo.lower(), target.revision.removeprefix("refs/heads/"))
        for target in targets
        if not isinstance(target, LlmcourseError)  # told by the plan
    )


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
