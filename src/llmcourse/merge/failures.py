"""mergekit raises plain built-in exceptions, or exits: each becomes an error of ours with its reason."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from safetensors import SafetensorError

from llmcourse.core.errors import LibraryError, file_error

_LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError,
                   ImportError, SafetensorError, SystemExit)  # fmt: skip
_READ_LOG = "Read the end of its log above; -v shows all of it."


@contextmanager
def mergekit_errors() -> Iterator[None]:
    """Name what failed; the log keeps the traceback.

    Raises:
        LibraryError: with the reason.
        PlanError: the disk is full.
    """
    complaints = _Complaints()
    logging.getLogger().addHandler(complaints)
    try:
        yield
    except OSError as error:
        refusal = file_error(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise refusal from error
        logging.exception("merge failed")
        raise LibraryError(refusal.what, refusal.fix) from error
    except _LIBRARY_ERRORS as error:
        reason = reason_of(error, complaints.last)
        logging.exception("merge failed")
        raise LibraryError(f"mergekit failed: {reason}", _READ_LOG) from error
    except MemoryError as error:
        raise LibraryError("Memory ran out.", "Use a machine with more memory.") from error
    finally:
        logging.getLogger().removeHandler(complaints)


class _Complaints(logging.Handler):
    """Keeps the last thing that was logged as an error: where mergekit exits, that is its reason."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        # What follows an error as a list of what there is begins with two spaces or ends in a colon.
        text = record.getMessage().strip()
        if text and not text.startswith("* ") and not text.endswith(":"):
            self.last = text


def reason_of(error: BaseException, logged: str = "") -> str:
    """What an exception says, in one line; of an exit, or where it says nothing, what was logged last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, SystemExit) or not lines:
        return logged.rstrip(".") + "." if logged else type(error).__name__
    reason, rest = lines[0], lines[1:]
    while rest and (reason.endswith(":") or _is_pydantics(lines[0])):
        reason = f"{reason} {rest.pop(0)}"
        if _is_pydantics(lines[0]) and len(lines) - len(rest) == _LINES_OF_A_FIELD:
            break
    if isinstance(error, KeyError):
        return f"there is no {reason}."
    return reason


_LINES_OF_A_FIELD = 3  # the count, the field, what is wrong with it


def _is_pydantics(line: str) -> bool:
    return "validation error" in line
