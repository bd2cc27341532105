"""The steps of `llmcourse run`: read, unfold, plan all, do what is ready, tell what came of it."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmcourse.core.artifact import Artifact
from llmcourse.core.config import validate
from llmcourse.core.console import Console
from llmcourse.core.documents import Document, read_documents
from llmcourse.core.errors import HandedOver, LlmcourseError, Problems, file_error, unknown_name
from llmcourse.core.model import expanded
from llmcourse.core.output_link import without_link
from llmcourse.core.overrides import apply_override
from llmcourse.core.workspace import Workspace, write_text
from llmcourse.run import show
from llmcourse.run.config import Config
from llmcourse.run.looking import look, source_of
from llmcourse.run.making import Settings, artifact_of, config_of, draw_family, move_typed, published
from llmcourse.run.outlook import Outlook, Whole
from llmcourse.run.steps import FAMILY_TREE, PUSH, Work, works

REPORT = "report.html"
State = Literal["made", "published", "unchanged", "not published", "failed", "not started", "handed over"]


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    pipeline: str
    overrides: tuple[str, ...] = ()
    output: str | None = None
    no_push: bool = False
    dry_run: bool = False
    force: bool = False


@dataclass(frozen=True)
class Done:
    """What came of one work; `files` are those of a family tree, which makes no artifact."""

    work: Work
    state: State
    seconds: float = 0.0
    artifact: Artifact | None = None
    files: tuple[Path, ...] = ()
    error: LlmcourseError | None = None

    @property
    def reference(self) -> str:
        if self.artifact:
            return self.artifact.reference
        return str(self.work.output) if self.files else ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.work.name,
            "command": self.work.command,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "combination": dict(self.work.combination),
            "reference": self.reference,
            "artifact": self.artifact.as_json() if self.artifact else None,
            "files": [str(path) for path in self.files],
            "error": self.error.as_json() if self.error else None,
        }


def execute(request: Request, console: Console) -> int:
    """Do it all; the exit code is that of the first step that failed.

    Raises:
        ConfigError, Problems: the pipeline or the config of a step is wrong.
        LlmcourseError: some step cannot work; nothing was made.
    """
    pipeline, document = _read(request)
    output = _output(request, pipeline)
    folder = _folder(request)
    found = works(pipeline, folder, output, document.where)
    settings = Settings(console, folder, request.no_push, request.force, document)
    whole = look(found, settings)
    if request.dry_run:
        with suppress(BrokenPipeError):
            show.plan(whole, console)
        return whole.exit_code
    if whole.failures:
        raise _refusal(whole)
    with Workspace(output, "").alone():
        done = _Doing(settings, whole).all()
        unwritten = _report(done, output)
    with suppress(BrokenPipeError):
        show.result(done, output / REPORT, console)
    if unwritten:
        raise unwritten
    return next((each.error.exit_code for each in done if each.error), 0)


def _folder(request: Request) -> Path:
    return Path.cwd() if request.pipeline == "-" else Path(request.pipeline).absolute().parent


def _read(request: Request) -> tuple[Config, Document]:
    folder = _folder(request)
    document = Config.arrange(read_documents(request.pipeline), folder)
    steps = document.data.get("steps") if isinstance(document.data, dict) else None
    named = list(map(str, steps)) if isinstance(steps, dict) else []
    for override in request.overrides:
        step = re.match(r"steps\.([^.=]+)[.=]", override)
        if step and named and step[1] not in named:
            raise unknown_name("step", step[1], named, override)
        apply_override(document, override, Config)
        move_typed(document, override, folder)
    return validate(Config, document), document


def _output(request: Request, pipeline: Config) -> Path:
    named = request.output or pipeline.output
    stem = "pipeline" if request.pipeline == "-" else Path(request.pipeline).stem
    return without_link(expanded(named or stem).absolute())


def _refusal(whole: Whole) -> LlmcourseError:
    """All that is wrong with any step, each with the step's name."""
    errors = []
    for name, check in whole.failures:
        error = check.error()
        error.where = f"{name}: {error.where}" if name else error.where
        errors.append(error)
    return errors[0] if len(errors) == 1 else Problems(errors)


class _Doing:
    """One work after the other: two models at once would need the memory of both, and end no sooner.

    What machines of others do is begun, and collected when it is needed, or when all else is done.
    """

    def __init__(self, settings: Settings, whole: Whole) -> None:
        self.settings = settings
        self.outlooks = whole.outlooks
        self.done: dict[str, Done] = {}
        self.begun: dict[str, float] = {}  # works that are to be collected, and when they were begun

    def all(self) -> list[Done]:
        try:
            for number, outlook in enumerate(self.outlooks, 1):
                self._collect(set(outlook.work.needs))
                self._note(f"[{number}/{len(self.outlooks)}] {outlook.work.name}")
                self._at(outlook)
            self._collect(set(self.begun))
        except KeyboardInterrupt:
            if self.begun:
                self._note(f"{', '.join(self.begun)} goes on elsewhere; the same command collects it.")
            raise
        return [self.done[outlook.work.name] for outlook in self.outlooks]

    def _note(self, text: str) -> None:
        self.settings.console.note(text)

    def _at(self, outlook: Outlook) -> None:
        work = outlook.work
        begin = time.monotonic()
        if outlook.state in ("unchanged", "not published"):
            done = Done(work, outlook.state, artifact=outlook.artifact)
        elif outlook.was_left and self._has_other_work(work):
            self.begun[work.name] = begin
            done = Done(work, "handed over")
        elif failed := [name for name in work.needs if self._is_missing(name)]:
            self._note(f"not started, since there is no result of {', '.join(failed)}")
            done = Done(work, "not started")
        else:
            done = self._do(work, may_leave=self._has_other_work(work))
        self.done[work.name] = replace(done, seconds=time.monotonic() - begin)

    def _collect(self, names: set[str]) -> None:
        """Wait for what was left to others, and bring it home."""
        for name in [name for name in self.begun if name in names]:
            self._note(f"collect {name}")
            done = self._do(self.done[name].work, may_leave=False)
            self.done[name] = replace(done, seconds=time.monotonic() - self.begun.pop(name))

    def _has_other_work(self, work: Work) -> bool:
        """Whether there is something to do after it that does not wait for it."""
        waiting = {work.name}
        for outlook in self.outlooks:
            other = outlook.work
            if waiting & set(other.needs):
                waiting.add(other.name)
            elif other.name not in {work.name, *self.done} and outlook.state in ("to make", "waits"):
                return True
        return False

    def _is_missing(self, name: str) -> bool:
        return self.done[name].state in ("failed", "not started", "handed over")

    def _do(self, work: Work, may_leave: bool) -> Done:
        console = self.settings.console_of_step()
        begin = time.monotonic()
        try:
            return self._result(work, may_leave)
        except HandedOver as end:
            console.note(f"{end.what} {end.fix}")
            if may_leave and not self._asks_not_to_wait(work):
                self.begun[work.name] = begin
            return Done(work, "handed over")
        except LlmcourseError as error:
            error.where = error.where or work.name
            console.error(error)
            return Done(work, "failed", error=error)

    def _result(self, work: Work, may_leave: bool) -> Done:
        if work.command == FAMILY_TREE:
            return Done(work, "made", files=tuple(draw_family(work, self.settings)))
        if work.command == PUSH:
            others = [each.work for each in self.outlooks]
            source = published(work, source_of(work, others, self.settings), self.settings)
            artifact = artifact_of(source, self.settings, config_of(source, self.settings, self._published()))
            return Done(work, "published", artifact=artifact)
        config = config_of(work, self.settings, self._published())
        others_way = config.left_to_others() if may_leave else None
        artifact = artifact_of(work, self.settings, others_way or config)
        return Done(work, "unchanged" if artifact.cached else "made", artifact=artifact)

    def _asks_not_to_wait(self, work: Work) -> bool:
        """Whether it is left to others by its own config, and not only meanwhile."""
        config = config_of(work, self.settings, self._published())
        return config.left_to_others() == config

    def _published(self) -> dict[str, str]:
        """References of what is on the Hub, by the folders of those works."""
        artifacts = [(done.work, done.artifact) for done in self.done.values()]
        return {
            str(work.output): artifact.reference
            for work, artifact in artifacts
            if artifact and artifact.hub and artifact.hub.kind == "model" and work.command != PUSH
        }


def _report(done: Sequence[Done], output: Path) -> LlmcourseError | None:
    """Write the page; why it could not be written is told after what was made."""
    from llmcourse.run.report import page

    try:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / REPORT, page(done, output))
    except OSError as error:
        return file_error(error)
    return None
