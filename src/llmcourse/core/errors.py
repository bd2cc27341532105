"""The errors a user can meet, one class per exit code.

    LlmcourseError        1  a bug of ours (raised as such only where we catch an impossible state)
    ├── ConfigError       2  usage or config
    ├── MissingError      3  this machine lacks an extra, a GPU, a driver
    ├── PlanError         4  the plan cannot work: inputs, disk, memory, permission
    ├── LibraryError      5  the library failed while running
    └── PublishError      6  made but not published; the same command publishes

HandedOver (0) ends a run that others go on with; it is no error and has its two sentences like one.

Every error is two sentences: what is wrong, and what to do.  Only `cli.main` turns them into an exit.
Where several things are wrong, `decisive` says whose exit code it is.
"""

import difflib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class LlmcourseError(Exception):
    """What is wrong, what to do about it, and where (a `file:line:column`, an option, a model)."""

    exit_code = 1

    def __init__(self, what: str, fix: str, where: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.where = where
        self.log: Path | None = None  # a library's log whose end explains more

    def as_json(self) -> dict[str, Any]:
        return {"exit_code": self.exit_code, "what": self.what, "fix": self.fix, "where": self.where}


class ConfigError(LlmcourseError):
    """The config or the command line is wrong."""

    exit_code = 2


class MissingError(LlmcourseError):
    """This machine lacks something: an extra, a GPU, a driver."""

    exit_code = 3


class PlanError(LlmcourseError):
    """The plan cannot work: inputs missing or incompatible, no disk, no memory, no permission."""

    exit_code = 4


class LibraryError(LlmcourseError):
    """The library failed while running."""

    exit_code = 5


class PublishError(LlmcourseError):
    """The result is made and kept, but could not be published."""

    exit_code = 6


class HandedOver(LlmcourseError):
    """No failure: what was rented works without us, and the same command collects the results later.

    `where` names it.
    """

    exit_code = 0


# A bug and a failed run say more than anything that is known beforehand. Of that, the config comes first,
# because what else is wrong may change with it; then the inputs; then what can be installed.
_PRECEDENCE = (LlmcourseError, LibraryError, ConfigError, PlanError, MissingError, PublishError)


def decisive(exit_codes: Iterable[int]) -> int:
    """The exit code where several things are wrong; 0 where nothing is."""
    found = set(exit_codes)
    return next((each.exit_code for each in _PRECEDENCE if each.exit_code in found), 0)


class Problems(LlmcourseError):
    """Several errors found in one look, those that decide its exit code first."""

    def __init__(self, errors: Sequence[LlmcourseError]) -> None:
        code = decisive(error.exit_code for error in errors)
        ordered = sorted(errors, key=lambda error: error.exit_code != code)
        super().__init__(ordered[0].what, ordered[0].fix, ordered[0].where)
        self.errors = tuple(ordered)
        self.exit_code = code

    def as_json(self) -> dict[str, Any]:
        return super().as_json() | {"problems": [error.as_json() for error in self.errors]}


def unknown_name(kind: str, name: str, known: Sequence[str], where: str | None = None) -> ConfigError:
    """There is no `kind` of this name; the one that was probably meant, or all that there are."""
    near = difflib.get_close_matches(name, known, 1)
    fix = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
    return ConfigError(f"There is no {kind} {name!r}.", fix, where)


def check_path(path: Path) -> str:
    """What to do about a path that leads nowhere: where a relative one was looked for."""
    if path.is_absolute():
        return "Check the path."
    return f"Check the path; it was looked for at {os.path.abspath(path)}."  # noqa: PTH100


def file_error(error: OSError) -> LlmcourseError:
    """A file system's refusal in our words: full, read-only, not ours."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return PlanError(
            f"{place}the disk is full.",
            "Free some space; the same command goes on from the last finished file.",
        )
    return PlanError(f"{place}{error.strerror or error}.", "Check the path and its permissions.")


BY_NAME: dict[str, type[LlmcourseError]] = {
    cls.__name__: cls for cls in (ConfigError, MissingError, PlanError, LibraryError, PublishError)
}
