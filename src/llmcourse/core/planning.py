"""Steps one and two of a command: what is asked, what is known, whether it can work. Makes nothing."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from llmcourse import __version__
from llmcourse.core import checks, extras
from llmcourse.core.artifact import sha256_of
from llmcourse.core.cache import cache_folder
from llmcourse.core.config import CommandConfig, HubTarget
from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.machine import this_machine
from llmcourse.core.model import ModelFacts, ModelRef, expanded, read_local
from llmcourse.core.plan import Check, Facts, FileFacts, Plan
from llmcourse.core.rates import read_rates
from llmcourse.core.workspace import Workspace, write_json

if TYPE_CHECKING:
    from types import ModuleType

    from llmcourse.core.hub import Target


_ANSWER = "answer.json"


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


class PlanModule(Protocol):
    """What a command's plan.py offers; LIBRARIES are those that its run.py needs, EXTRA installs them.

    It may also offer `questions(config, facts) -> dict | None`: what only the libraries can tell and the
    plan must know, None where there is nothing to ask.  `answer` of run.py gets them as the job's settings.
    """

    LIBRARIES: tuple[str, ...]
    EXTRA: str

    def plan(self, config: Any, facts: Facts, /) -> Plan: ...


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

    @cached_property
    def output(self) -> Path:
        if self.request.output or self.config.output:
            return expanded(self.request.output or str(self.config.output)).absolute()
        if self.push_wish:
            return Path(self.push_wish.repo.rpartition("/")[2]).absolute()
        stem = self.name if self.request.config == "-" else Path(self.request.config).stem
        return Path(stem).absolute()

    @cached_property
    def push_wish(self) -> HubTarget | None:
        if self.request.no_push:
            return None
        hub = self.config.hub
        repo = self.request.push or (hub.repo if hub else None)
        if repo is None:
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
        files = {name: _read_file(path) for name, path in self.config.files().items()}
        publisher = self.push_wish.repo.rpartition("/")[0] if self.push_wish else None
        facts = Facts(this_machine(), found, files, rates=read_rates(self.name), publisher=publisher)
        return replace(facts, answers=self._answers(facts))

    def _answers(self, facts: Facts) -> Mapping[str, Any] | LlmcourseError:
        questions = getattr(self.planner, "questions", None)
        if questions is None or not all(map(extras.installed, self.planner.LIBRARIES)):
            return {}
        asked = questions(self.config, facts)
        if asked is None:
            return {}
        models = {name: model for name, model in facts.models.items() if isinstance(model, ModelFacts)}
        identities = {name: model.identity for name, model in models.items()}
        place = answers_folder() / _digest([self.name, asked, identities, self.versions])
        try:
            return _kept(place) or self._asked(asked, models, place)
        except LlmcourseError as error:
            return error

    def _asked(self, asked: dict[str, Any], models: Mapping[str, ModelFacts], place: Path) -> dict[str, Any]:
        """Ask the child, which gets the models' small files, and keep the answer."""
        inputs = {
            name: str(
                model.ref.place
                if model.ref.is_local
                else self.hub.download_small(model, asked.get("download", ()))
            )
            for name, model in models.items()
        }
        scratch = place / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        config = self.config.model_dump(mode="json")
        answer = self.ask(Job(config, asked, inputs, scratch, scratch))
        write_json(place / _ANSWER, answer)
        shutil.rmtree(scratch)
        return answer

    def _read(self, ref: ModelRef) -> ModelFacts | LlmcourseError:
        try:
            return read_local(ref) if ref.is_local else self.hub.read_hub_model(ref)
        except LlmcourseError as error:
            return error

    @cached_property
    def hub(self) -> "ModuleType":
        """The Hub's client, imported only by runs that need it (0.4 s)."""
        from llmcourse.core import hub

        hub.use_quietly(self.is_verbose)
        return hub

    @cached_property
    def plan(self) -> Plan:
        plan = self.planner.plan(self.config, self.facts)
        return plan.with_checks(self._shared_checks(plan))

    def _shared_checks(self, plan: Plan) -> Iterator[Check]:
        yield from checks.library_checks(self.planner.LIBRARIES, self.planner.EXTRA)
        fingerprint = self._fingerprint_of(plan)
        models = [model for model in self.facts.models.values() if isinstance(model, ModelFacts)]
        folders = [model.ref.folder.absolute() for model in models if model.ref.is_local]
        yield checks.output_check(self.output, fingerprint, self.request.force, folders)
        yield from self._resource_checks(plan, Workspace(self.output, fingerprint))
        if self.push_wish:
            inputs = [model.hub_id for model in models]
            yield checks.push_check(self.target, fingerprint, self.request.force, inputs)

    def _resource_checks(self, plan: Plan, workspace: Workspace) -> Iterator[Check]:
        """Disk and memory for what is still to be made."""
        if workspace.finished(plan.pieces):
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
        if left.vram:
            yield checks.gpu_memory_check(left, self.facts.machine)

    @cached_property
    def target(self) -> "Target | LlmcourseError":
        assert self.push_wish is not None
        try:
            return cast("Target", self.hub.read_target(self.push_wish))
        except LlmcourseError as error:
            return error

    @property
    def repo(self) -> str | None:
        """Full id of the repository that the result is published to, if it is."""
        if self.push_wish is None or isinstance(self.target, LlmcourseError):
            return None
        return self.target.repo

    @property
    def fingerprint(self) -> str:
        return self._fingerprint_of(self.plan)

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
        found = {library: extras.library_version(library) for library in self.planner.LIBRARIES}
        return {"llmcourse": __version__} | {name: version for name, version in found.items() if version}


def answers_folder() -> Path:
    """Where answers of the libraries are kept, by what they depend on."""
    return cache_folder() / "answers"


def _kept(place: Path) -> dict[str, Any] | None:
    try:
        answer = json.loads((place / _ANSWER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not asked yet, or torn: then it is asked again
    return answer if isinstance(answer, dict) else None


def _read_file(path: Path) -> FileFacts | LlmcourseError:
    if path.exists() and not path.is_file():
        return PlanError(f"{path} is no file.", "Give a file.", where=str(path))
    try:
        return FileFacts(path.stat().st_size, sha256_of(path))
    except OSError as error:
        return PlanError(f"{path} cannot be read ({error.strerror}).", "Check the path.", where=str(path))


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
