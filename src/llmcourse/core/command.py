"""The five steps of every command: config, plan, run, card, publish. Written once, here.

A command is a package with four modules that this one finds by name:

    config.py   class Config(CommandConfig)
    plan.py     LIBRARIES, EXTRA, plan(config, facts) -> Plan
    card.py     card(config, facts, artifact, repo) -> Card
    run.py      run(job, progress) -> Iterator[OutputFile]        (imported in a child process only)

and a template `card.md.jinja`.  Where card.py has `shown(artifact)`, rich draws that above the result's
path.  A plan that needs the libraries' word has `questions` too, which `answer`
of run.py answers (core.planning).  A command whose results go to other places as well has `publish.py`, one
that leaves more than files behind when it is interrupted has `interrupted.py` (core.making).
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from llmcourse.core.artifact import Artifact
from llmcourse.core.cache import cache_folder
from llmcourse.core.config import CommandConfig, load
from llmcourse.core.console import Console
from llmcourse.core.errors import HandedOver, LibraryError, LlmcourseError, Problems
from llmcourse.core.isolated import LOADING, Job, Worker
from llmcourse.core.making import CardModule, InterruptModule, Making, PublishModule
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Plan, PlanModule
from llmcourse.core.planning import Planning, Request


def execute(name: str, request: Request, console: Console, root: str = "llmcourse") -> int:
    """Run a command, a package under `root`, and return its exit code; all it says goes through `console`.

    Raises:
        LlmcourseError: with the sentences and the exit code of whatever stopped it.
    """
    with opened(name, request, console, root=root) as command:
        if request.dry_run:
            plan = command.planning.plan
            with suppress(BrokenPipeError):
                console.plan(plan)
            return plan.exit_code
        try:
            artifact = command.artifact()
        except HandedOver as end:
            with suppress(BrokenPipeError):
                console.handed_over(end)
            return 0
    with suppress(BrokenPipeError):  # whoever read our stdout has had enough; the work is done
        show = getattr(import_module(f"{root}.{name.replace('-', '_')}.card"), "shown", None)
        drawn = show(artifact) if show and not (console.is_json or console.is_quiet) else None
        if drawn is not None:
            console.drawing(drawn)
        console.result(artifact)
    return 0


@dataclass(frozen=True)
class Command:
    """A command on one config, whose steps can be had one by one."""

    planning: Planning
    package: str
    console: Console
    worker: Worker | None  # a dry run without questions has none

    def artifact(self) -> Artifact:
        """Make what is not made yet, publish what is not published yet.

        Raises:
            HandedOver: others go on with it.
            LlmcourseError: the plan refuses it, or something failed.
        """
        if self.planning.plan.failures:
            raise refusal(self.planning.plan)
        assert self.worker is not None, "only a dry run has none"
        writer = cast(CardModule, import_module(f"{self.package}.card"))
        publisher = cast(PublishModule | None, _optional(f"{self.package}.publish"))
        interrupted = cast(InterruptModule | None, _optional(f"{self.package}.interrupted"))
        making = Making(
            self.planning, self.package, self.console, writer, self.worker, publisher, interrupted
        )
        return making.artifact()


@contextmanager
def opened(
    name: str,
    request: Request,
    console: Console,
    config: CommandConfig | None = None,
    foreseen: Mapping[str, ModelFacts] | None = None,
    root: str = "llmcourse",
) -> Iterator[Command]:
    """The command of that name, with a child that loads its libraries meanwhile; `config` is read by default.

    `foreseen` are models that others make first, by their path: a dry run can plan on them.
    """
    package = f"{root}.{name.replace('-', '_')}"
    planner = cast(PlanModule, import_module(f"{package}.plan"))
    asks = hasattr(planner, "questions")
    model = cast(type[CommandConfig], import_module(f"{package}.config").Config)
    with _early_worker(package, console, asks) if asks or not request.dry_run else nullcontext() as worker:

        def ask(job: Job) -> dict[str, Any]:
            assert worker is not None, "a plan with questions has a worker"
            return worker.ask(job, console.event)

        read = config or load(model, request.config, request.overrides, console.note)
        planning = Planning(
            name, request, console.is_verbose, read, planner, ask, foreseen or {}, console.note
        )
        yield Command(planning, package, console, worker)


@contextmanager
def _early_worker(package: str, console: Console, is_light: bool) -> Iterator[Worker]:
    """A child that loads the libraries while this process plans; its log is kept if it explains an error.

    A light one, which answers questions, has children of its own for what is heavy.
    """
    with tempfile.TemporaryFile() as log:  # without a name, so that a kill leaves nothing
        loading = None if is_light else LOADING
        worker = Worker(f"{package}.run", log, console.is_verbose, loading)
        try:
            yield worker
        except LibraryError as error:
            worker.stop()
            error.log = error.log or _kept(log)
            raise
        finally:
            worker.stop()


def _kept(log: IO[bytes]) -> Path:
    """The log as a file with a name, for whoever wants all of it."""
    log.seek(0)
    folder = cache_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".log", delete=False) as kept:
        shutil.copyfileobj(log, kept)
    return Path(kept.name)


def _optional(module: str) -> ModuleType | None:
    return import_module(module) if find_spec(module) else None


def refusal(plan: Plan) -> LlmcourseError:
    """All that a plan refuses, what decides the exit code first."""
    errors = [check.error() for check in plan.failures]
    return errors[0] if len(errors) == 1 else Problems(errors)
