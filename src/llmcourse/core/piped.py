"""The model that the command before us in a pipe made."""

import json
import sys

from llmcourse.core.errors import ConfigError


def piped_reference(source: str) -> str:
    """The reference that the command before us in a pipe printed: with -q a line, with --json a document.

    Raises:
        ConfigError: stdin holds the config itself, or nothing that names a model.
    """
    if source == "-":
        raise ConfigError(
            "Both the config and the model are to be read from stdin.", "Give the config as a file.", "model"
        )
    text = sys.stdin.read().strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text)["reference"])
        except (ValueError, KeyError):
            text = ""  # the document of a command that failed
    if not text or "\n" in text:
        raise ConfigError(
            "No model came through the pipe." if not text else "More than one line came through the pipe.",
            "Let the command before print its result alone, with -q; if it failed, mend that first.",
            "model",
        )
    return text
