"""The five steps of every command: config, plan, run, card, publish. Written once, here.

A command is a package with four modules that this one finds by name:

    config.py   class Config(CommandConfig)
    plan.py     LIBRARIES, plan(config, facts) -> Plan
    card.py     card(config, facts, artifact, repo) -> Card
    run.py      run(job, progress) -> Iterator[OutputFile]        (imported in a child process only)

and a template `card.md.jinja`.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from llmcourse import __version__
from llmcourse.core import checks, extras
from llmcourse.core.artifact import MANIFEST_NAME, Artifact, OutputFile
from llmcourse.core.card import Card, render
from llmcourse.core.config import CommandConfig, HubTarget, load
from llmcourse.core.console import Console, human_bytes
from llmcourse.core.errors import LlmcourseError, Problems
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.machine import this_machine
from llmcourse.core.model import ModelFacts, ModelRef, read_local
from llmcourse.core.plan import Check, Facts, Plan
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import Workspace, save_artifact, write_text

if TYPE_CHECKING:
    from llmcourse.core.hub import Target

CARD_NAME = "README.md"


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


class CardModule(Protocol):
    """What a command's card.py offers; `repo` is the Hub id it will be published under, if any."""

    def card(self, config: Any, facts: Facts, artifact: Artifact, repo: str | None, /) -> Card: ...


def execute(name: str, request: Request, console: Console) -> int:
    """Run a command and return its exit code; results and progress go through `console`.

    Raises:
        LlmcourseError: with the sentences and the exit code of whatever stopped it.
    """
    package = f"llmcourse.{name.replace('-', '_')}"
    model = cast(type[CommandConfig], import_module(f"{package}.config").Config)
    planner = cast(PlanModule, import_module(f"{package}.plan"))
    config = load(model, request.config, request.overrides)
    writer = cast(CardModule, import_module(f"{package}.card"))
    run = _Run(name, package, request, console, config, planner, writer)
    if request.dry_run:
        console.plan(run.plan)
        return run.plan.exit_code
    if run.plan.failures:
        raise _refusal(run.plan)
    console.result(run.artifact())
    return 0


def _refusal(plan: Plan) -> LlmcourseError:
    errors = [check.error() for check in plan.failures if check.exit_code == plan.exit_code]
    errors += [check.error() for check in plan.failures if check.exit_code != plan.exit_code]
    return errors[0] if len(errors) == 1 else Problems(errors)


@dataclass
class _Run:
    """One execution of one command; each step is computed when the next one needs it."""

    name: str
    package: str
    request: Request
    console: Console
    config: CommandConfig
    planner: PlanModule
    card_writer: CardModule
    timings_s: dict[str, float] = field(default_factory=dict)

    @cached_property
    def progress(self) -> Progress:
        return Progress(self.console.event)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.timings_s[step] = round(time.monotonic() - begin, 3)

    # -- plan ---------------------------------------------------------------------------------

    @cached_property
    def output(self) -> Path:
        if self.request.output or self.config.output:
            return Path(self.request.output or str(self.config.output)).expanduser().absolute()
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
            found = dict(zip(models, pool.map(_read, models.values()), strict=True))
        return Facts(this_machine(), found)

    @cached_property
    def plan(self) -> Plan:
        with self.timed("plan"):
            plan = self.planner.plan(self.config, self.facts)
            return plan.with_checks(self._shared_checks(plan))

    def _shared_checks(self, plan: Plan) -> Iterator[Check]:
        yield from checks.library_checks(self.planner.LIBRARIES)
        fingerprint = self._fingerprint(plan)
        yield checks.output_check(self.output, fingerprint, self.request.force)
        yield checks.disk_check(plan.estimate, self.output, _cache() if plan.estimate.download else None)
        yield checks.memory_check(plan.estimate, self.facts.machine)
        if self.push_wish:
            yield checks.push_check(self._target, fingerprint, self.request.force)

    @cached_property
    def _target(self) -> "Target | LlmcourseError":
        from llmcourse.core.hub import read_target

        assert self.push_wish is not None
        try:
            return read_target(self.push_wish)
        except LlmcourseError as error:
            return error

    def _fingerprint(self, plan: Plan) -> str:
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

    # -- run, card, publish -------------------------------------------------------------------

    def artifact(self) -> Artifact:
        """Make what is not made yet, publish what is not published yet."""
        workspace = Workspace(self.output, self._fingerprint(self.plan))
        artifact = workspace.finished()
        if artifact is None or workspace.staging.exists():
            with workspace.opened():
                artifact = workspace.finished() or self._make(workspace)
                workspace.discard()
        artifact = self._with_current_card(artifact)
        return self._pushed(artifact) if self.push_wish else artifact

    def _make(self, workspace: Workspace) -> Artifact:
        self._announce()
        with self.timed("download"):
            inputs = {name: self._local_folder(name) for name in self.config.models()}
        with self.timed("run"):
            self._run(workspace, inputs)
        artifact = Artifact(
            command=self.name,
            path=str(self.output),
            fingerprint=workspace.fingerprint,
            files=tuple(workspace.done),
            inputs={_public_name(facts): facts.revision for facts in self._models()},
            versions=self.versions,
            timings_s=self.timings_s,
            details=self.plan.settings,
        )
        artifact = self._write_card(artifact, workspace.files)
        workspace.publish(artifact)
        return artifact

    def _announce(self) -> None:
        for check in self.plan.checks:
            if check.status == "warn":
                self.console.note(f"! {check.name}: {check.what} {check.fix}".rstrip())
        summary = ", ".join(f"{name} {value}" for name, value in self.plan.summary)
        size = human_bytes(self.plan.estimate.write)
        self.console.note(f"{self.name}: {summary}; {size} to write to {self.output}")

    def _models(self) -> list[ModelFacts]:
        return [facts for facts in self.facts.models.values() if isinstance(facts, ModelFacts)]

    def _local_folder(self, name: str) -> str:
        facts = self.facts.models[name]
        assert isinstance(facts, ModelFacts), "the plan refuses models that cannot be read"
        if facts.ref.is_local:
            return str(facts.ref.folder.absolute())
        from llmcourse.core.hub import download

        return str(download(facts, self.progress, self.plan.settings.get("download", ())))

    def _run(self, workspace: Workspace, inputs: dict[str, str]) -> None:
        job = Job(
            config=self.config.model_dump(mode="json"),
            settings=self.plan.settings,
            inputs=inputs,
            files=workspace.files,
            scratch=workspace.scratch,
            done=tuple(workspace.done),
            is_verbose=self.console.is_verbose,
        )
        with workspace.log.open("ab") as log:
            worker = Worker(f"{self.package}.run", log, self.console.is_verbose)
            try:
                for message in worker.run(job):
                    if isinstance(message, OutputFile):
                        workspace.commit(message)
                    else:
                        self.console.event(message)
            except LlmcourseError as error:
                error.log = workspace.log
                raise
            finally:
                worker.stop()

    def _card_texts(self, artifact: Artifact) -> dict[str, str]:
        """The card, and the texts that belong beside it, by file name."""
        published = artifact.hub.repo if artifact.hub else None
        repo = self.push_wish.repo if self.push_wish else published
        card = self.card_writer.card(self.config, self.facts, artifact, repo)
        return {CARD_NAME: render(card, self.package), **card.files}

    def _write_card(self, artifact: Artifact, folder: Path) -> Artifact:
        if not self.plan.settings.get("write_card", True):
            return artifact
        texts = self._card_texts(artifact)
        for name, text in texts.items():
            write_text(folder / name, text)
        others = tuple(file for file in artifact.files if file.path not in texts)
        return replace(artifact, files=(*others, *(OutputFile.of(folder, name) for name in texts)))

    def _with_current_card(self, artifact: Artifact) -> Artifact:
        """Bring the card of a finished result up to what the config says now (tags, licence, …)."""
        if not artifact.cached:
            return artifact
        current = self._write_card(artifact, self.output)
        if current.files != artifact.files:
            save_artifact(self.output, current)
        return current

    def _pushed(self, artifact: Artifact) -> Artifact:
        from llmcourse.core.hub import push

        assert not isinstance(self._target, LlmcourseError), "the plan refuses such a target"
        begin = time.monotonic()
        unpublished = replace(artifact, hub=None, timings_s=_without_push(artifact.timings_s))
        save_artifact(self.output, unpublished)
        files = (*artifact.files, OutputFile.of(self.output, MANIFEST_NAME))
        location = push(self.output, files, self._target, f"Add {self.name} made by llmcourse", self.progress)
        seconds = round(time.monotonic() - begin, 3)
        published = replace(artifact, hub=location, timings_s=unpublished.timings_s | {"push": seconds})
        save_artifact(self.output, published)
        return published


def _without_push(timings_s: dict[str, float]) -> dict[str, float]:
    """The published manifest must not change from push to push, or each would be a new commit."""
    return {step: seconds for step, seconds in timings_s.items() if step != "push"}


def _public_name(facts: ModelFacts) -> str:
    """A name for the published manifest: a Hub id, or a folder's own name without the way to it."""
    return facts.hub_id or facts.ref.folder.absolute().name


def _read(ref: ModelRef) -> ModelFacts | LlmcourseError:
    try:
        if ref.is_local:
            return read_local(ref)
        from llmcourse.core.hub import read_hub_model

        return read_hub_model(ref)
    except LlmcourseError as error:
        return error


def _cache() -> Path:
    from llmcourse.core.hub import cache_folder

    return cache_folder()
