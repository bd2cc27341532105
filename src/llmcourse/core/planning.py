"""Steps one and two of a command: what is asked, what is known, whether it can work. Makes nothing."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from llmcourse import __version__
from llmcourse.core import checks, extras
from llmcourse.core.config import CommandConfig, HubTarget
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.machine import this_machine
from llmcourse.core.model import ModelFacts, ModelRef, expanded, read_local
from llmcourse.core.plan import Check, Estimate, Facts, Plan
from llmcourse.core.workspace import Workspace

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


class PlanModule(Protocol):
    """What a command's plan.py offers; LIBRARIES are those that its run.py needs."""

    LIBRARIES: tuple[str, ...]

    def plan(self, config: Any, facts: Facts, /) -> Plan: ...


@dataclass
class Planning:
    """The first two steps of one execution; each value is computed when the next one needs it."""

    name: str
    request: Request
    is_verbose: bool
    config: CommandConfig
    planner: PlanModule

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
        return Facts(this_machine(), found)

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
        yield from checks.library_checks(self.planner.LIBRARIES)
        fingerprint = self._fingerprint_of(plan)
        yield checks.output_check(self.output, fingerprint, self.request.force)
        yield from self._resource_checks(plan.estimate, Workspace(self.output, fingerprint))
        if self.push_wish:
            yield checks.push_check(self.target, fingerprint, self.request.force)

    def _resource_checks(self, estimate: Estimate, workspace: Workspace) -> Iterator[Check]:
        """Disk and memory for what is still to be made."""
        if workspace.finished():
            return
        left = replace(estimate, write=max(0, estimate.write - workspace.staged_bytes()))
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
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def versions(self) -> dict[str, str]:
        found = {library: extras.library_version(library) for library in self.planner.LIBRARIES}
        return {"llmcourse": __version__} | {name: version for name, version in found.items() if version}
