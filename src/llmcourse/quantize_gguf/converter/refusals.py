"""What the converter raises, logs or exits with, in sentences for people; its log has the traceback."""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from llmcourse.core.errors import LlmcourseError, PlanError, file_error

logger = logging.getLogger(__name__)

_FILE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)
_LONGEST = 300  # characters of a reason: some list every tensor
# Folders of a model that is examined are ours, and mean nothing to anybody.
_PATH = re.compile(r"(?:/[^\s/'\",;:\])]+)+/([^\s/'\",;:\])]+)")
_ABSENT = re.compile(
    r"(?:missing|not found:?|no such file or directory:?)\s+'?"
    r"([\w-]+\.(?:model|jsonl?|txt|jinja|tiktoken))\b",
    re.IGNORECASE,
)


@contextmanager
def converter_errors() -> Iterator[None]:
    """Turn what the converter raises, or exits with, into our sentences.

    Raises:
        PlanError: the converter cannot convert this model; or the disk is full, a file not readable.
    """
    heard = _Heard()
    logging.getLogger().addHandler(heard)
    try:
        yield
    except LlmcourseError:
        raise
    except (Exception, SystemExit) as error:
        logging.getLogger().removeHandler(heard)
        logger.exception("the converter failed")
        if isinstance(error, OSError) and error.errno in _FILE_ERRORS:
            raise file_error(error) from error
        raise refusal(error, heard.last) from error
    finally:
        logging.getLogger().removeHandler(heard)


class _Heard(logging.Handler):
    """The last error that was logged: what the converter says before it exits with a bare number."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def refusal(error: BaseException, logged: str = "") -> PlanError:
    """Say why the converter stopped, and what can be done about it."""
    if isinstance(error, KeyError) and error.args and not re.search(r"\s", str(error.args[0])):
        return PlanError(
            f"config.json or the tokenizer has no {error.args[0]}, which llama.cpp's converter reads.",
            "Get config.json and the tokenizer's files from the model that this one is made from.",
        )
    is_bare = isinstance(error, SystemExit) and not isinstance(error.code, str)
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    reason = _reason(logged if is_bare and logged else text) or type(error).__name__
    if "trust_remote_code" in text:
        return PlanError(
            "The model's tokenizer is code that it brings and that would run on this machine.",
            "Set trust_remote_code=true if you trust it.",
        )
    if absent := _ABSENT.search(reason):
        return PlanError(
            f"The model has no {absent[1]}, which llama.cpp's converter reads for its architecture.",
            f"Copy {absent[1]} into it from the model that it is made from.",
        )
    if "detect model architecture" in reason:
        return PlanError(
            "config.json does not say which architecture the model has.",
            "Add architectures to config.json, as the model that it is made from has it.",
        )
    if reason.startswith("Mismatch between weight map"):
        return PlanError(
            f"The index of the weights and the files with them do not belong together: "
            f"{reason.partition(': ')[2] or 'they name other tensors'}.",
            "Download or copy the model again, its index and all its files from one place.",
        )
    return PlanError(
        f"llama.cpp's converter refuses this model: {reason}.",
        "Check that the model is complete and of a kind that llama.cpp supports.",
    )


def _reason(text: str) -> str:
    """One line, with the next one where it ends in a colon, and file names in place of paths."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    if first.endswith(":") and len(lines) > 1:
        first = f"{first} {lines[1]}"
    first = _PATH.sub(lambda found: PurePath(found[1]).name, first).removeprefix("Error: ").rstrip(".:")
    return first if len(first) <= _LONGEST else first[:_LONGEST].rstrip() + "…"
