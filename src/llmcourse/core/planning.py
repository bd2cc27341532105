"""Steps one and two of a command: what is asked, what is known, whether it can work. Makes nothing."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmcourse import __version__
from llmcourse.core import answers, checks, extras
from llmcourse.core.artifact import Artifact
from llmcourse.core.config import CommandConfig, HubTarget
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.isolated import Job
from llmcourse.core.machine import this_machine
from llmcourse.core.model import ModelFacts, ModelRef, expanded, read_local
from llmcourse.core.output_link import without_link
from llmcourse.core.plan import Check, DatasetFacts, Facts, Plan, PlanModule, read_file
from llmcourse.core.progress import silent
from llmcourse.core.rates import read_rates
from llmcourse.core.vocabulary import read_tokenizers
from llmcourse.core.workspace import Workspace, read_artifact

if TYPE_CHECKING:
    from types import ModuleType

    from llmcourse.core.hub import Target


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    config: str
    overrides: tuple[str, ...] = ()
    output: str | None = None
    push: str | None = None
    no_push: bool = False
    private: bool = False
    revision: str | None = None
    dry_run: bool = False
    force: bool = False
    # Says of an older result in the output whether it is the caller's to replace; what is published is not.
    owns: Callable[[Path], bool] | None = None


# Sends a job to the command's child process and returns the answer.
Ask = Callable[[Job], dict[str, Any]]


@dataclass
class Planning:
    """The first two steps of one execution; each value is computed when the next one needs it."""

    name: str
    request: Request
    is_verbose: bool
    config: CommandConfig
    planner: PlanModule
    ask: Ask
    foreseen: Mapping[str, ModelFacts] = field(default_factory=dict)  # models that others make first, by path
    note: Callable[[str], None] = silent  # a sentence the user should see now
    _targets: dict[HubTarget, "Target | LlmcourseError"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.request.no_push:
            self.config = self.config.unpublished()

    @cached_property
    def libraries(self) -> tuple[str, ...]:
        chosen = getattr(self.planner, "libraries", None)
        return tuple(chosen(self.config)) if chosen else self.planner.LIBRARIES

    @property
    def extra(self) -> str:
        """The extra that installs them."""
        chosen = getattr(self.planner, "extra", None)
        return str(chosen(self.config)) if chosen else self.planner.EXTRA

    @cached_property
    def output(self) -> Path:
        if self.request.output or self.config.output:
            return without_link(expanded(self.request.output or str(self.config.output)).absolute())
        if self.push_wish:
            return Path(self.push_wish.repo.rpartition("/")[2]).absolute()
        stem = self.name if self.request.config == "-" else Path(self.request.config).stem
        return Path(stem).absolute()

    @cached_property
    def push_wish(self) -> HubTarget | None:
        hub = self.config.hub
        repo = self.request.push or (hub.repo if hub else None)
        if not repo:
            return None
        revision = self.request.revision or (hub.revision if hub else "main")
        return HubTarget(
            repo=repo, private=self.request.private or bool(hub and hub.private), revision=revision
        )

    @cached_property
    def facts(self) -> Facts:
        models = self.config.models()
        with ThreadPoolExecutor(8) as pool:
            found = dict(zip(models, pool.map(self._read, models.values()), strict=True))
        files = {name: read_file(path) for name, path in self.config.files().items()}
        datasets = {name: self._read_dataset(name) for name in self.config.datasets()}
        publisher = self.push_wish.repo.rpartition("/")[0] if self.push_wish else None
        facts = Facts(this_machine(), found, files, rates=read_rates(self.name), publisher=publisher)
        present, look_up = getattr(self.planner, "present", dict), getattr(self.planner, "look_up", None)
        looked_up = look_up(self.config) if look_up else {}
        facts = replace(facts, datasets=datasets, present={**present(), **looked_up})
        if getattr(self.planner, "READS_TOKENIZERS", False):
            facts = replace(facts, tokenizers=read_tokenizers(found, self._small, self.foreseen))
        facts = replace(facts, answers=self._answers(facts))
        if not (further := getattr(self.planner, "look_further", None)):
            return facts
        return replace(facts, present={**facts.present, **further(self.config, facts.answers)})

    def _answers(self, facts: Facts) -> Mapping[str, Any] | LlmcourseError:
        questions = getattr(self.planner, "questions", None)
        if questions is None or self.waits or not all(map(extras.installed, self.libraries)):
            return {}
        if (asked := questions(self.config, facts)) is None:
            return {}
        models = {name: model for name, model in facts.models.items() if isinstance(model, ModelFacts)}
        identities = {name: model.identity for name, model in models.items()}
        place = answers.place_of(_digest([self.name, asked, identities, self.versions]))
        try:
            return answers.kept(place) or self._asked(asked, models, place)
        except LlmcourseError as error:
            return error

    def _small(self, model: ModelFacts, more: Iterable[str] = ()) -> Path:
        """A folder with all that a model has but its weights."""
        local = model.ref.is_local
        return model.ref.place if local else Path(self.hub.download_small(model, more, self.note))

    def _asked(self, asked: dict[str, Any], models: Mapping[str, ModelFacts], place: Path) -> dict[str, Any]:
        """Ask the child, which gets the models' small files, and keep the answer."""
        more = asked.get("download", ())
        inputs = {name: str(self._small(model, more)) for name, model in models.items()}
        scratch = place / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        answer = self.ask(Job(self.config.model_dump(mode="json"), asked, inputs, scratch, scratch))
        answers.keep(place, answer)
        shutil.rmtree(scratch)
        return answer

    @property
    def waits(self) -> bool:
        """Whether a model is only foreseen: then libraries cannot be asked about it."""
        return any(ref.path in self.foreseen for ref in self.config.models().values())

    def _read(self, ref: ModelRef) -> ModelFacts | LlmcourseError:
        if ref.path in self.foreseen:
            return replace(self.foreseen[ref.path], ref=ref)
        try:
            return read_local(ref) if ref.is_local else self.hub.read_hub_model(ref, self.note)
        except LlmcourseError as error:
            return error

    def _read_dataset(self, name: str) -> DatasetFacts | LlmcourseError:
        try:
            return cast(DatasetFacts, self.hub.read_dataset(name))
        except LlmcourseError as error:
            return error

    @cached_property
    def hub(self) -> "ModuleType":
        """The Hub's client, imported only by runs that need it (0.4 s)."""
        from llmcourse.core import hub

        hub.use_quietly(self.is_verbose, self.note)
        return hub

    @cached_property
    def plan(self) -> Plan:
        plan = self.planner.plan(self.config, self.facts)
        if any(isinstance(model, LlmcourseError) for model in self.facts.models.values()):
            plan = replace(plan, is_estimated=False)
        return plan.with_checks(self._shared_checks(plan))

    def _shared_checks(self, plan: Plan) -> Iterator[Check]:
        yield from checks.library_checks(self.libraries, self.extra)
        fingerprint = self._fingerprint_of(plan)
        # A library that is not here has no version, and a result of it another fingerprint.
        is_known = self.facts.is_whole and all(map(extras.installed, self.libraries))
        known = fingerprint if is_known else None
        models = [model for model in self.facts.models.values() if isinstance(model, ModelFacts)]
        folders = [model.ref.folder.absolute() for model in models if model.ref.is_local]
        present = read_artifact(self.output)
        is_older = present is not None and present.fingerprint != fingerprint
        owns = self.request.owns if is_older else None  # it reads all files of that result
        may_replace = self.request.force or bool(owns and owns(self.output))
        changed = [] if may_replace or is_older else Workspace(self.output, fingerprint).changed()
        yield checks.output_check(self.output, known, may_replace, folders, changed)
        yield from self._resource_checks(plan, Workspace(self.output, fingerprint))
        if self.push_wish:
            yield from self._push_checks(plan, known)

    def _resource_checks(self, plan: Plan, workspace: Workspace) -> Iterator[Check]:
        """Disk and memory for what is still to be made."""
        if workspace.finished(plan.pieces) or not plan.is_estimated:
            return
        estimate = plan.estimate
        staged = workspace.staged_bytes()
        left = replace(
            estimate,
            write=max(0, estimate.write - staged),
            scratch=max(0, estimate.scratch - max(0, staged - estimate.write)),
        )
        cache = self.hub.cache_folder() if left.download else None
        yield checks.disk_check(left, self.output, cache)
        yield checks.memory_check(left, self.facts.machine)
        if left.vram and self.facts.machine.gpus:
            yield checks.gpu_memory_check(left, self.facts.machine)

    def _push_checks(self, plan: Plan, fingerprint: str | None) -> Iterator[Check]:
        """One for each place; what is wrong with the token or the network is told once."""
        assert self.push_wish is not None
        yield self.push_check(self.push_wish, fingerprint)
        if isinstance(self.target, LlmcourseError):
            return
        places = self.places(plan.pieces)
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(lambda wish: self.push_check(wish, fingerprint), places.values())

    def push_check(self, wish: HubTarget, fingerprint: str | None) -> Check:
        """Whether the result, or a piece of it, may be published there."""
        models = [model for model in self.facts.models.values() if isinstance(model, ModelFacts)]
        inputs = [model.hub_id for model in models]
        return checks.push_check(self.target_at(wish), fingerprint, self.request.force, inputs)

    def places(self, pieces: Iterable[str]) -> dict[str, HubTarget]:
        """Those of the pieces that are published to a place of their own, and where."""
        if self.push_wish is None:
            return {}
        wishes = {piece: self.config.target_of(piece, self.push_wish) for piece in pieces}
        return {piece: wish for piece, wish in wishes.items() if wish != self.push_wish}

    @property
    def target(self) -> "Target | LlmcourseError":
        assert self.push_wish is not None
        return self.target_at(self.push_wish)

    def target_at(self, wish: HubTarget) -> "Target | LlmcourseError":
        """What is at that place, as it was when it was first asked for."""
        if wish not in self._targets:
            try:
                self._targets[wish] = cast("Target", self.hub.read_target(wish, self.config.HUB_KIND))
            except LlmcourseError as error:
                self._targets[wish] = error
        return self._targets[wish]

    @property
    def repo(self) -> str | None:
        """Full id of the repository that the result is published to, if it is."""
        if self.push_wish is None or isinstance(self.target, LlmcourseError):
            return None
        return self.target.repo

    @property
    def fingerprint(self) -> str:
        return self._fingerprint_of(self.plan)

    @property
    def finished(self) -> Artifact | None:
        """What an earlier run made of just this, whole and in its place."""
        return Workspace(self.output, self.fingerprint).finished(self.plan.pieces)

    def _fingerprint_of(self, plan: Plan) -> str:
        """What the result's bytes depend on: config, inputs' revisions, decisions, versions."""
        inputs = {
            name: facts.identity if isinstance(facts, ModelFacts) else None
            for name, facts in self.facts.models.items()
        }
        parts = {
            "command": self.name,
            "config": self.config.model_dump(mode="json", exclude=set(self.config.NOT_COMPUTED)),
            "settings": plan.settings,
            "inputs": inputs,
            "versions": self.versions,
        }
        return _digest(parts)

    @cached_property
    def versions(self) -> dict[str, str]:
        found = {library: extras.library_version(library) for library in self.libraries}
        return {"llmcourse": __version__} | {name: version for name, version in found.items() if version}


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
