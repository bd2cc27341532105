"""Whether a file that is called GGUF is one: its head is read while the command plans, without llama.cpp."""

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from llmcourse.autoeval.config import Config
from llmcourse.core.gguf_header import GgufHead
from llmcourse.core.plan import Check, Facts, FileFacts, fail

_KEY = "gguf"
_SHORTEST = 24  # bytes: magic, version and two counts


def look_up(config: Config) -> dict[str, str]:
    """For Facts.present: what is wrong with each GGUF file, by its name as written, "" where nothing is."""
    problems = {name: problem_of(path) for name, path in config.gguf_files().items() if path.is_file()}
    return {_KEY: json.dumps(problems)} if problems else {}


def gguf_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Pure; a file that is not there is told by the checks of models."""
    problems: dict[str, str] = json.loads(facts.present.get(_KEY, "{}"))
    for name in config.gguf_files():
        if problems.get(name) and isinstance(facts.files.get(name), FileFacts):
            yield fail(
                name, f"{name} is no whole GGUF file ({problems[name]}).", "Download or make it again."
            )


def problem_of(path: Path) -> str:
    """Why llama.cpp could not load it, as far as its head tells."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < _SHORTEST:
                return f"it has {path.stat().st_size} bytes"
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _read(GgufHead(data), len(data))
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    except (struct.error, ValueError) as error:
        return "it is cut off in its head" if isinstance(error, struct.error) else str(error)
    return ""


def _read(head: GgufHead, size: int) -> None:
    """Raises ValueError with what is wrong, struct.error where the file ends too early."""
    if "general.architecture" not in [key for key, _ in head.entries()]:
        raise ValueError("it names no architecture")
    furthest = max(head.offsets(), default=-1)
    if furthest < 0:
        raise ValueError("it has no tensors")
    if head.at + furthest >= size:
        raise ValueError("it is cut off: tensors are missing")
