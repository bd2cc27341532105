"""The five steps of every command: config, plan, run, card, publish. Written once, here.

A command is a package with four modules that this one finds by name:

    config.py   class Config(CommandConfig)
    plan.py     LIBRARIES, EXTRA, plan(config, facts) -> Plan
    card.py     card(config, facts, artifact, repo) -> Card
    run.py      run(job, progress) -> Iterator[OutputFile]        (imported in a child process only)

and a template `card.md.jinja`.  A plan that needs the libraries' word has `questions` too, which `answer`
of run.py answers (core.planning).  A command whose results go to other places as well has `publish.py`, one
that leaves more than files behind when it is interrupted has `interrupted.py` (core.making).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

from llmcourse.core.cache import cache_folder
from llmcourse.core.config import CommandConfig, load
from llmcourse.core.console import Console
from llmcourse.core.errors import HandedOver, LibraryError, LlmcourseError, Problems
from llmcourse.core.isolated import LOADING, Job, Worker
from llmcourse.core.making import CardModule, InterruptModule, Making, PublishModule
from llmcourse.core.plan import Plan
from llmcourse.core.planning import PlanModule, Planning, Request


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
    publisher = cast(PublishModule | None, _optional(f"{package}.publish"))
    interrupted = cast(InterruptModule | None, _optional(f"{package}.interrupted"))
    making = Making(planning, package, console, writer, worker, publisher, interrupted)
    try:
        artifact = making.artifact()
    except HandedOver as end:
        with suppress(BrokenPipeError):
            console.handed_over(end)
        return 0
    with suppress(BrokenPipeError):  # whoever read our stdout has had enough; the work is done
        console.result(artifact)
    return 0


def _optional(module: str) -> ModuleType | None:
    return import_module(module) if find_spec(module) else None


def _refusal(plan: Plan) -> LlmcourseError:
    errors = [check.error() for check in plan.failures if check.exit_code == plan.exit_code]
    errors += [check.error() for check in plan.failures if check.exit_code != plan.exit_code]
    return errors[0] if len(errors) == 1 else Problems(errors)
