"""What the head of a GGUF file says of name, author, licence and origin.

The converter reads the card and guesses the rest from the folder's name, which for a download is a commit.
Its own file of overrides knows no licence, and its script for adapters takes none; so its reading is
hooked: it sees the folder under the model's name, and what it found is then replaced by what is known.
"""

import dataclasses
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmcourse.core.card_head import head_problem
from llmcourse.quantize_gguf.converter.intercepted import OURS

logger = logging.getLogger(__name__)

# What the converter reads for it (gguf-py/gguf/metadata.py of llama-cpp-python 0.3.36).
_CARD = "README.md"
_FILES = (_CARD, "config.json", "generation_config.json")


@dataclasses.dataclass
class Reading:
    """How the model's own card was read: why it was passed over, None where it was not."""

    card_problem: str | None = None


@contextmanager
def known_metadata(gguf: Any, known: Mapping[str, Any], scratch: Path) -> Iterator[Reading]:
    """Within the block the converter writes `known` in place of what it finds.

    A card that cannot be read, or says what a GGUF file cannot hold, is passed over: weights do not need it.

    Args:
        known: by the names of `gguf.Metadata`: "name", "author", "license", "base_models", …
    """
    read = gguf.Metadata.load
    reading = Reading()

    def load(override: Any, folder: Path, *rest: Any) -> Any:
        named = _named(folder, str(known.get("name") or folder.name), scratch / "card")

        def found() -> Any:
            metadata = dataclasses.replace(read(override, named, *rest), **known)
            _try(gguf, metadata, scratch / "card" / "head.gguf")
            return metadata

        try:
            return found()
        except Exception:
            if not (named / _CARD).exists():
                raise
            logger.exception("the model card cannot be read")
            reading.card_problem = _problem(named / _CARD)
            (named / _CARD).unlink()
            return found()

    gguf.Metadata.load = load
    try:
        yield reading
    finally:
        gguf.Metadata.load = staticmethod(read)


def _try(gguf: Any, metadata: Any, place: Path) -> None:
    """Write it to a file of its own: only then the writer looks at the values."""
    writer = gguf.GGUFWriter(place, "none")
    setattr(writer, OURS, True)
    if metadata.name is None:  # the converter finds one later
        metadata = dataclasses.replace(metadata, name="none")
    metadata.set_gguf_meta_model(writer)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
    finally:
        writer.close()


def _problem(card: Path) -> str:
    try:
        return head_problem(card.read_text("utf-8")) or "its head holds a value of the wrong kind"
    except UnicodeDecodeError:
        return "it is not written in UTF-8"


def _named(folder: Path, name: str, place: Path) -> Path:
    named = place / name.replace("/", "-")
    shutil.rmtree(place, ignore_errors=True)
    named.mkdir(parents=True)
    for file in _FILES:
        if (folder / file).is_file():
            (named / file).symlink_to((folder / file).absolute())
    return named
