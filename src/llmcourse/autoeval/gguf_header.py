"""Whether a file that is called GGUF is one: its head is read while the command plans, without llama.cpp."""

import json
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.thinking import chat_of
from llmcourse.core.gguf_header import GgufHead
from llmcourse.core.plan import Check, Facts, FileFacts, fail

_KEY = "gguf"
_THOUGHTS_END = ("</think>", "</thinking>", "[/THINK]", "◁/think▷", "</seed:think>", "<|end_of_thought|>")
_SHORTEST = 24  # bytes: magic, version and two counts


def look_up(config: Config) -> dict[str, str]:
    """For Facts.present: what each GGUF file says of itself, by its name as written; see `head_of`."""
    found = {name: head_of(path) for name, path in config.gguf_files().items() if path.is_file()}
    return {_KEY: json.dumps(found)} if found else {}


def heads(facts: Facts) -> dict[str, Any]:
    """What the GGUF files that could be read say of themselves: `context` in tokens (0 where they do not say
    it) and `chat`, which thinking.chat_of gives.
    """
    found = json.loads(facts.present.get(_KEY, "{}"))
    return {name: head for name, head in found.items() if not head.get("problem")}


def gguf_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Pure; a file that is not there is told by the checks of models."""
    found: dict[str, Any] = json.loads(facts.present.get(_KEY, "{}"))
    for name in config.gguf_files():
        problem = found.get(name, {}).get("problem")
        if problem and isinstance(facts.files.get(name), FileFacts):
            yield fail(name, f"{name} is no whole GGUF file ({problem}).", "Download or make it again.")


def head_of(path: Path) -> dict[str, Any]:
    """`context` and `chat` of a file; or `problem`: why llama.cpp could not load it, as its head tells."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size < _SHORTEST:
                return {"problem": f"it has {path.stat().st_size} bytes"}
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(GgufHead(data), data)
    except OSError as error:
        return {"problem": f"it cannot be read: {error.strerror}"}
    except (struct.error, ValueError) as error:
        is_cut = isinstance(error, struct.error)
        return {"problem": "it is cut off in its head" if is_cut else str(error)}


def _read(head: GgufHead, data: mmap.mmap) -> dict[str, Any]:
    """Raises ValueError with what is wrong, struct.error where the file ends too early."""
    entries = dict(head.entries())
    end_of_entries = head.at
    architecture = entries.get("general.architecture")
    if architecture is None:
        raise ValueError("it names no architecture")
    furthest = max(head.offsets(), default=-1)
    if furthest < 0:
        raise ValueError("it has no tensors")
    if head.at + furthest >= len(data):
        raise ValueError("it is cut off: tensors are missing")
    template = entries.get("tokenizer.chat_template")
    # Its vocabulary is an array, which is not read: what ends thoughts is looked for in its bytes.
    known = [word for word in _THOUGHTS_END if data.find(word.encode(), 0, end_of_entries) >= 0]
    context = entries.get(f"{architecture}.context_length")
    return {
        "context": context if isinstance(context, int) else 0,
        "chat": chat_of(template if isinstance(template, str) else "", known),
    }
