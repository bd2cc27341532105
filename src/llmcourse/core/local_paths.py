"""Relative paths in a config: they start at the config's own folder, wherever the command is run.

They are rewritten to start at the current folder, which is where all code reads paths from; a config that
lies there stays as it is.  What is typed on the command line is never touched: it starts there already.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from llmcourse.core.documents import Document, Location
from llmcourse.core.model import expanded

# A model may as well be one of the Hub; a suite one of ours, by its name.
Kind = Literal["model", "file", "suite"]
_WORDS = ("", "-", "none")
_YAML = (".yaml", ".yml")


def from_folder(
    document: Document, places: Mapping[Location, Kind], folder: Path, start: Path | None = None
) -> None:
    """Rewrite the values at `places`, lists of them included, which start at `folder`, to start at `start`.

    That is the current folder unless another is given.
    """
    start = (start or Path.cwd()).resolve()
    if folder.resolve() == start:
        return
    for location, kind in places.items():
        for holder, key in _holders(document.data, location):
            text = holder[key]
            if isinstance(text, str) and text.lower() not in _WORDS:
                holder[key] = _rewritten(text, kind, (folder, start), document)


def _holders(data: Any, location: Location) -> Iterator[tuple[Any, str | int]]:
    """The dictionary or list that holds the value, and its key there; each item where it is a list."""
    for part in location[:-1]:
        is_item = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not is_item and not (isinstance(data, dict) and part in data):
            return  # another form than the config has; what is wrong with it is told when it is validated
        data = data[part]
    key = location[-1]
    if isinstance(data, list) and isinstance(key, int):
        yield data, key
    elif isinstance(data, dict) and key in data:
        value = data[key]
        yield from (
            ((value, index) for index in range(len(value))) if isinstance(value, list) else [(data, key)]
        )


def _rewritten(text: str, kind: Kind, move: tuple[Path, Path], document: Document) -> str:
    folder, start = move
    if text.startswith("hf://") or expanded(text).is_absolute() or text.startswith("~"):
        return text
    if kind == "model" and "+" in text and not _exists(folder / text) and not _exists(Path(text)):
        return "+".join(_rewritten(part, kind, move, document) for part in text.split("+"))  # and its LoRA
    if kind == "suite" and not text.endswith(_YAML):
        return text
    beside = folder / text
    there = os.path.relpath(beside.resolve(), start)
    if _exists(beside):
        return there
    if _exists(Path(text)):
        document.notes.append(
            f"! {text} is not in {folder}, the folder of the config, and is read from the current folder. "
            f"This ends with the next version: write {os.path.relpath(Path(text).absolute(), folder)}."
        )
        return text
    return there if kind != "model" or looks_local(text) else text


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text that cannot be a path
        return False


def looks_local(text: str) -> bool:
    """Whether a model's name can be no id of the Hub."""
    path = text.partition("@")[0]
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or "\\" in path or path.endswith(".gguf")
