"""The five steps of every command: config, plan, run, card, publish. Written once, here.

A command is a package with four modules that this one finds by name:

    config.py   class Config(CommandConfig)
    plan.py     LIBRARIES, EXTRA, plan(config, facts) -> Plan
    card.py     card(config, facts, artifact, repo) -> Card
    run.py      run(job, progress) -> Iterator[OutputFile]        (imported in a child process only)

and a template `card.md.jinja`.  A plan that needs the libraries' word has `questions` too, which `answer`
of run.py answers (core.planning).
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from llmcourse.core.artifact import MANIFEST_NAME, Artifact, OutputFile, sha256_of
from llmcourse.core.card import Card, render
from llmcourse.core.config import CommandConfig, load
from llmcourse.core.console import Console, human_bytes
from llmcourse.core.errors import LibraryError, LlmcourseError, Problems
from llmcourse.core.isolated import LOADING, Job, Worker
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Facts, Plan
from llmcourse.core.planning import PlanModule, Planning, Request
from llmcourse.core.progress import Progress
from llmcourse.core.uploads import Uploads
from llmcourse.core.workspace import Workspace, save_artifact, write_text

CARD_NAME = "README.md"


class CardModule(Protocol):
    """What a command's card.py offers; `repo` is the Hub id it will be published under, if any."""

    def card(self, config: Any, facts: Facts, artifact: Artifact, repo: str | None, /) -> Card: ...


def execute(name: str, request: Request, console: Console) -> int:
    """Run a command and return its exit code; results and progress go through `console`.

    Raises:
        LlmcourseError: with the sentences and the exit code of whatever stopped it.
    """
    package = f"llmcourse.{name.replace('-', '_')}"
    planner = cast(PlanModule, import_module(f"{package}.plan"))
    if request.dry_run and not hasattr(planner, "questions"):
        return _execute(name, package, request, console, None)
    with _early_worker(package, console, hasattr(planner, "questions")) as worker:
        return _execute(name, package, request, console, worker)


@contextmanager
def _early_worker(package: str, console: Console, is_light: bool) -> Iterator[Worker]:
    """A child that loads the libraries while this process plans; its log is kept if it explains an error.

    A light one, which answers questions, has children of its own for what is heavy.
    """
    with tempfile.NamedTemporaryFile(prefix="llmcourse-", suffix=".log", delete=False) as log:
        loading = None if is_light else LOADING
        worker = Worker(f"{package}.run", log, console.is_verbose, loading)
        try:
            yield worker
        except LlmcourseError as error:
            if isinstance(error, LibraryError) and error.log is None:
                error.log = Path(log.name)
            raise
        finally:
            worker.stop()
            if not isinstance(sys.exception(), LibraryError):
                Path(log.name).unlink()


def _execute(name: str, package: str, request: Request, console: Console, worker: Worker | None) -> int:
    model = cast(type[CommandConfig], import_module(f"{package}.config").Config)
    planner = cast(PlanModule, import_module(f"{package}.plan"))
    config = load(model, request.config, request.overrides)

    def ask(job: Job) -> dict[str, Any]:
        assert worker is not None, "a plan with questions has a worker"
        return worker.ask(job, console.event)

    planning = Planning(name, request, console.is_verbose, config, planner, ask)
    if request.dry_run:
        with suppress(BrokenPipeError):
            console.plan(planning.plan)
        return planning.plan.exit_code
    if planning.plan.failures:
        raise _refusal(planning.plan)
    writer = cast(CardModule, import_module(f"{package}.card"))
    assert worker is not None, "only a dry run has none"
    artifact = _Making(planning, package, console, writer, worker).artifact()
    with suppress(BrokenPipeError):  # whoever read our stdout has had enough; the work is done
        console.result(artifact)
    return 0


def _refusal(plan: Plan) -> LlmcourseError:
    errors = [check.error() for check in plan.failures if check.exit_code == plan.exit_code]
    errors += [check.error() for check in plan.failures if check.exit_code != plan.exit_code]
    return errors[0] if len(errors) == 1 else Problems(errors)


@dataclass
class _Making:
    """Steps three to five of one execution: run, card, publish."""

    planning: Planning
    package: str
    console: Console
    card_writer: CardModule
    worker: Worker
    timings_s: dict[str, float] = field(default_factory=dict)

    @cached_property
    def progress(self) -> Progress:
        return Progress(self.console.event)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.timings_s[step] = round(time.monotonic() - begin, 3)

    def artifact(self) -> Artifact:
        """Make what is not made yet, publish what is not published yet."""
        workspace = Workspace(self.planning.output, self.planning.fingerprint)
        with workspace.opened():
            artifact = workspace.finished(self.planning.plan.pieces) or self._make(workspace)
            workspace.clean()
            artifact = self._with_current_card(artifact)
            return self._pushed(artifact) if self.planning.push_wish else artifact

    def _make(self, workspace: Workspace) -> Artifact:
        self._announce()
        with self.timed("download"):
            inputs = {name: self._local_folder(name) for name in self.planning.config.models()}
        with self.timed("run"):
            self._run(workspace, inputs)
        artifact = self._write_card(self._artifact_of(workspace.done), workspace.files)
        workspace.publish(artifact)
        return artifact

    def _artifact_of(self, files: Sequence[OutputFile]) -> Artifact:
        return Artifact(
            command=self.planning.name,
            path=str(self.planning.output),
            fingerprint=self.planning.fingerprint,
            files=tuple(files),
            inputs={_public_name(facts): facts.revision for facts in self._models()},
            versions=self.planning.versions,
            timings_s=self.timings_s,
            details=self.planning.plan.settings,
        )

    def _announce(self) -> None:
        for check in self.planning.plan.checks:
            if check.status == "warn":
                self.console.note(f"! {check.name}: {check.what} {check.fix}".rstrip())
        summary = ", ".join(f"{name} {value}" for name, value in self.planning.plan.summary)
        size = human_bytes(self.planning.plan.estimate.write)
        self.console.note(f"{self.planning.name}: {summary}; {size} to write to {self.planning.output}")

    def _models(self) -> list[ModelFacts]:
        return [facts for facts in self.planning.facts.models.values() if isinstance(facts, ModelFacts)]

    def _local_folder(self, name: str) -> str:
        facts = self.planning.facts.models[name]
        assert isinstance(facts, ModelFacts), "the plan refuses models that cannot be read"
        if facts.ref.is_local:
            return str(facts.ref.folder.absolute())
        settings = self.planning.plan.settings
        more = settings.get("download", ())
        if name in settings.get("without_weights", ()):
            return str(self.planning.hub.download_small(facts, more))
        return str(self.planning.hub.download(facts, self.progress, more))

    def _run(self, workspace: Workspace, inputs: dict[str, str]) -> None:
        job = Job(
            config=self.planning.config.model_dump(mode="json"),
            settings=self.planning.plan.settings,
            inputs=inputs,
            files=workspace.files,
            scratch=workspace.scratch,
            done=tuple(workspace.done),
        )
        if not self.planning.push_wish or not self.planning.plan.pieces:
            self._follow(job, workspace, None)
            return
        uploads = Uploads(
            lambda piece, files: self._publish_piece(workspace, piece, files), self.console.note
        )
        with uploads.running():
            for piece in dict.fromkeys(file.piece for file in workspace.done if file.piece):
                uploads.add(piece, workspace.done)
            self._follow(job, workspace, uploads)
        self._release(workspace, uploads)

    def _follow(self, job: Job, workspace: Workspace, uploads: Uploads | None) -> None:
        """Record each file as it is finished, and publish it meanwhile where it is of use by itself."""
        for message in self.worker.run(job):
            if not isinstance(message, OutputFile):
                self.console.event(message)
                continue
            is_known = any(file == replace(message, about=file.about) for file in workspace.done)
            workspace.commit(message)
            if uploads and message.piece and message.is_last and not is_known:
                uploads.add(message.piece, workspace.done)
            if uploads:
                self._release(workspace, uploads)

    def _release(self, workspace: Workspace, uploads: Uploads) -> None:
        for file in uploads.published():
            if not self.planning.config.keeps_local:
                workspace.release(file)

    def _publish_piece(self, workspace: Workspace, piece: str, files: Sequence[OutputFile]) -> None:
        """One commit with this piece and a manifest of all that is there, by which a killed push goes on."""
        target = self.planning.target
        assert not isinstance(target, LlmcourseError), "the plan refuses such a target"
        # Without times, so that the manifest of the same files is the same, and no new commit.
        partial = replace(self._artifact_of(files), timings_s={})
        save_artifact(workspace.files, partial)
        sent = replace(partial, files=(*files, OutputFile.of(workspace.files, MANIFEST_NAME)))
        name = piece.partition(":")[0]
        self.planning.hub.push(workspace.files, sent, target, self.progress, name)

    def _card_texts(self, artifact: Artifact) -> dict[str, str]:
        """The card, and the texts that belong beside it, by file name."""
        repo = self.planning.repo or (artifact.hub.repo if artifact.hub else None)
        card = self.card_writer.card(self.planning.config, self.planning.facts, artifact, repo)
        return {CARD_NAME: render(card, self.package), **card.files}

    def _write_card(self, artifact: Artifact, folder: Path) -> Artifact:
        if not self.planning.plan.settings.get("write_card", True):
            return artifact
        texts = self._card_texts(artifact)
        written = dict(artifact.written)
        for name, text in texts.items():
            path = folder / name
            if path.is_file() and name in written and sha256_of(path) != written[name]:
                continue  # what a person changed is theirs
            write_text(path, text)
            written[name] = sha256_of(path)
        others = tuple(file for file in artifact.files if file.path not in texts)
        files = (*others, *(OutputFile.of(folder, name) for name in texts))
        return replace(artifact, files=files, written=written)

    def _with_current_card(self, artifact: Artifact) -> Artifact:
        """Bring the card of a finished result up to what the config says now (tags, licence, …)."""
        current = self._write_card(artifact, self.planning.output)
        if current != artifact:
            save_artifact(self.planning.output, current)
        return current

    def _pushed(self, artifact: Artifact) -> Artifact:
        assert not isinstance(self.planning.target, LlmcourseError), "the plan refuses such a target"
        begin = time.monotonic()
        unpublished = replace(artifact, hub=None, timings_s=_without_push(artifact.timings_s))
        save_artifact(self.planning.output, unpublished)
        files = (*artifact.files, OutputFile.of(self.planning.output, MANIFEST_NAME))
        sent = replace(unpublished, files=files)
        location = self.planning.hub.push(self.planning.output, sent, self.planning.target, self.progress)
        seconds = round(time.monotonic() - begin, 3)
        published = replace(artifact, hub=location, timings_s=unpublished.timings_s | {"push": seconds})
        save_artifact(self.planning.output, published)
        return published


def _without_push(timings_s: dict[str, float]) -> dict[str, float]:
    """The published manifest must not change from push to push, or each would be a new commit."""
    return {step: seconds for step, seconds in timings_s.items() if step != "push"}


def _public_name(facts: ModelFacts) -> str:
    """A name for the published manifest: a Hub id, or a folder's own name without the way to it."""
    return facts.hub_id or facts.ref.folder.absolute().name
