"""Where a mergekit document names models, so that folders are found beside the file that names them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmcourse.core.documents import Document, Location
from llmcourse.core.local_paths import from_folder

_KEYS = ("model", "lora", "path", "base_model", "source_model", "source", "tokenizer_source")
_SOURCES = ("source", "tokenizer_source")
_NO_MODELS = ("union", "base")  # there, words of mergekit


def move_stages(stages: Sequence[Document], folder: Path, start: Path | None = None) -> None:
    """Rewrite relative paths that start at `folder` (core.local_paths); names of stages are none."""
    names = {stage.data.get("name") for stage in stages if isinstance(stage.data, dict)}
    for stage in stages:
        from_folder(stage, dict.fromkeys(_places(stage.data, names), "model"), folder, start)


def _places(data: Any, names: set[Any], location: Location = ()) -> Iterator[Location]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        if key == "parameters":
            continue
        is_word = key in _SOURCES and value in _NO_MODELS
        if isinstance(value, str) and key in _KEYS and not is_word and value not in names:
            yield (*location, key)
        elif isinstance(value, dict | list):
            yield from _places(value, names, (*location, key))
