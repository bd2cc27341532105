"""What the head of a GGUF file says of name, author, licence and origin.

The converter reads the card and guesses the rest from the folder's name, which for a download is a commit.
Its own file of overrides knows no licence, and its script for adapters takes none; so its reading is
hooked: it sees the folder under the model's name, and what it found is then replaced by what is known.
"""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What the converter reads for it (gguf-py/gguf/metadata.py of llama-cpp-python 0.3.36).
_FILES = ("README.md", "config.json", "generation_config.json")


@contextmanager
def known_metadata(gguf: Any, known: Mapping[str, Any], scratch: Path) -> Iterator[None]:
    """Within the block the converter writes `known` in place of what it finds.

    Args:
        known: by the names of `gguf.Metadata`: "name", "author", "license", "base_models", …
    """
    read = gguf.Metadata.load

    def load(override: Any, folder: Path, *rest: Any) -> Any:
        if "name" in known:
            folder = _named(folder, str(known["name"]), scratch / "card")
        return dataclasses.replace(read(override, folder, *rest), **known)

    gguf.Metadata.load = load
    try:
        yield
    finally:
        gguf.Metadata.load = staticmethod(read)


def _named(folder: Path, name: str, place: Path) -> Path:
    named = place / name.replace("/", "-")
    shutil.rmtree(place, ignore_errors=True)
    named.mkdir(parents=True)
    for file in _FILES:
        if (folder / file).is_file():
            (named / file).symlink_to((folder / file).absolute())
    return named
