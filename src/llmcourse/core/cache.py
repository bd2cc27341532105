"""The folder for what is worth keeping between runs and can be made again: $LLMCOURSE_CACHE."""

import os
from pathlib import Path

from llmcourse.core.errors import PlanError, file_error


def made_folder(path: Path) -> Path:
    """A folder of the cache, made where it is not there.

    Raises:
        PlanError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "Set LLMCOURSE_CACHE to a folder of yours that has room."
        raise PlanError(file_error(error).what, fix, str(path)) from error
    return path


def cache_folder() -> Path:
    """`$LLMCOURSE_CACHE`, or `~/.cache/llmcourse`; it need not exist yet.

    Raises:
        PlanError: neither is set.
    """
    named = os.environ.get("LLMCOURSE_CACHE")
    try:
        return Path(named) if named else Path.home() / ".cache" / "llmcourse"
    except RuntimeError:
        raise PlanError(
            "There is no home folder for our cache: HOME is not set, and this user has none.",
            "Set HOME, or LLMCOURSE_CACHE and HF_HOME, to a folder of yours.",
            "HOME",
        ) from None
