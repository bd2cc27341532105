"""What will happen, what it needs, and why it cannot: the value that `--dry-run` prints."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from llmcourse.core.artifact import sha256_of
from llmcourse.core.errors import (
    BY_NAME,
    ConfigError,
    LlmcourseError,
    MissingError,
    PlanError,
    check_path,
    decisive,
)
from llmcourse.core.machine import Machine
from llmcourse.core.model import ModelFacts
from llmcourse.core.vocabulary import TokenizerFacts

Status = Literal["ok", "warn", "fail"]
_EXIT_NAMES = {cls.exit_code: cls for cls in BY_NAME.values()}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. A failed check carries the exit code it would end with."""

    name: str
    status: Status
    what: str
    fix: str = ""
    exit_code: int = 0

    def error(self) -> LlmcourseError:
        return _EXIT_NAMES.get(self.exit_code, PlanError)(self.what, self.fix, where=self.name)


def ok(name: str, what: str) -> Check:
    return Check(name, "ok", what)


def warn(name: str, what: str, fix: str = "") -> Check:
    return Check(name, "warn", what, fix)


def fail(name: str, what: str, fix: str, exit_code: int = PlanError.exit_code) -> Check:
    return Check(name, "fail", what, fix, exit_code)


def mistake(name: str, what: str, fix: str) -> Check:
    """A check that failed because of what the config says, whatever found it."""
    return fail(name, what, fix, ConfigError.exit_code)


def failure(error: LlmcourseError, name: str | None = None) -> Check:
    """A check that failed with this error."""
    return Check(name or error.where or "plan", "fail", error.what, error.fix, error.exit_code)


@dataclass(frozen=True)
class FileFacts:
    """A file that the config names beside the models: its size in bytes and its content's sha256."""

    size: int
    sha256: str


def read_file(path: Path) -> FileFacts | LlmcourseError:
    """Its size and hash, or why it cannot be read."""
    if path.exists() and not path.is_file():
        return PlanError(f"{path} is no file.", "Give a file.", where=str(path))
    try:
        return FileFacts(path.stat().st_size, sha256_of(path))
    except OSError as error:
        return PlanError(f"{path} cannot be read ({error.strerror}).", check_path(path), where=str(path))


@dataclass(frozen=True)
class DatasetFacts:
    """A data set of the Hub: its id, the commit it is read at, its configs and the splits of each.

    A config has no splits here where neither the card nor the names of files tell them.  `default` is the
    config that the card marks, None where it marks none.
    """

    id: str
    revision: str
    configs: Mapping[str, tuple[str, ...]]
    default: str | None = None


@dataclass(frozen=True)
class Facts:
    """All a planner may know: the machine, and each model's metadata or why it cannot be read.

    Planners are pure functions of a config and these facts, so they are tested without a GPU, a
    network or a library.  Models, files and data sets are keyed as the config writes them.  `answers` are
    what the libraries said to the planner's `questions`: empty where there were none or no library, an
    error where they refused.  `rates` are what this machine took before for the same work (core.rates).
    `publisher` is the user or organization it is published by, empty where the repository names none, and
    None where nothing is published.
    """

    machine: Machine
    models: Mapping[str, ModelFacts | LlmcourseError]
    files: Mapping[str, FileFacts | LlmcourseError] = field(default_factory=dict)
    answers: Mapping[str, Any] | LlmcourseError = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    publisher: str | None = None
    datasets: Mapping[str, DatasetFacts | LlmcourseError] = field(default_factory=dict)
    present: Mapping[str, str] = field(default_factory=dict)
    tokenizers: Mapping[str, TokenizerFacts] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all could be read that decides a result: only then older results can be told apart."""
        read = [*self.models.values(), *self.files.values(), *self.datasets.values(), self.answers]
        return not any(isinstance(each, LlmcourseError) for each in read)


@dataclass(frozen=True)
class Estimate:
    """Bytes: to download, to write in the output folder, of intermediate files beside it until the end,
    and of memory (and GPU memory) at the peak."""

    download: int = 0
    write: int = 0
    scratch: int = 0
    memory: int = 0
    vram: int = 0


@dataclass(frozen=True)
class Plan:
    """`settings` are the decisions the adapter runs with; `summary` rows are for people.

    `labels` reach the adapter with the settings, but another one makes no other result, and they are not
    published: who publishes, where something is on this machine.

    `pieces` names the parts of the result that must be there for it to be complete, where a command makes
    several that are of use by themselves: such a result can be extended later.
    """

    command: str
    summary: tuple[tuple[str, str], ...]
    steps: tuple[str, ...]
    checks: tuple[Check, ...]
    estimate: Estimate
    settings: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    pieces: tuple[str, ...] = ()
    is_estimated: bool = True  # False where a model could not be read: then the estimate says nothing

    def with_checks(self, checks: Iterable[Check]) -> "Plan":
        return replace(self, checks=_installed_at_once((*self.checks, *checks)))

    @property
    def failures(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status == "fail")

    @property
    def exit_code(self) -> int:
        """0, or the failures': a wrong config (2) before inputs (4) before what is not installed (3)."""
        return decisive(check.exit_code for check in self.failures)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"exit_code": self.exit_code}


def _installed_at_once(checks: Iterable[Check]) -> tuple[Check, ...]:
    """What the same command installs is said once, whoever missed it."""
    found: dict[object, Check] = {}
    for index, check in enumerate(checks):
        key = check.fix if check.exit_code == MissingError.exit_code else index
        first = found.get(key)
        if first is None:
            found[key] = check
        elif check.what not in first.what:
            name, what = f"{first.name}, {check.name}", f"{first.what} {check.what}"
            found[key] = replace(first, name=name, what=what)
    return tuple(found.values())


class PlanModule(Protocol):
    """What a command's plan.py offers; LIBRARIES are those that its run.py needs, EXTRA installs them.

    It may also offer `questions(config, facts) -> dict | None`: what only the libraries can tell and the
    plan must know, None where there is nothing to ask.  `answer` of run.py gets them as the job's settings.
    And `present() -> dict`: which of the command's own means are on this machine (Facts.present), and
    `look_up(config) -> dict`: what other services know, as text beside it; `look_further(config, answers)`
    the same where the libraries' answers say what to ask for.  Where the config decides which libraries are
    needed, `libraries(config)` and `extra(config)` win over the constants.  Where the result is a model,
    `foreseen(config, facts) -> ModelFacts | None` tells what is known of it before it is made.
    `READS_TOKENIZERS = True` asks for `Facts.tokenizers`, what the models' tokenizer files say.
    """

    LIBRARIES: tuple[str, ...]
    EXTRA: str

    def plan(self, config: Any, facts: Facts, /) -> Plan: ...
