"""The folder for what is worth keeping between runs and can be made again: $LLMCOURSE_CACHE."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$LLMCOURSE_CACHE`, or `~/.cache/llmcourse`; it need not exist yet."""
    return Path(os.environ.get("LLMCOURSE_CACHE") or Path.home() / ".cache" / "llmcourse")
