"""The folder for what is worth keeping between runs and can be made again: $LLMCOURSE_CACHE."""

import os
from pathlib import Path

from llmcourse.core.errors import file_error


def made_folder(path: Path) -> Path:
    """A folder of the cache, made where it is not there.

    Raises:
        PlanError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error) from error
    return path


def cache_folder() -> Path:
    """`$LLMCOURSE_CACHE`, or `~/.cache/llmcourse`; it need not exist yet."""
    return Path(os.environ.get("LLMCOURSE_CACHE") or Path.home() / ".cache" / "llmcourse")
