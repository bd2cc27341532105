"""The text to calibrate on as the one file that the converter takes.

It reads a parquet file and joins all columns of a row; a file that is given alone is passed on as it is, as
one would pass it by hand.  Everything else becomes such a file with one column.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from llmcourse.calibration import texts
from llmcourse.core.calibration import TABLE
from llmcourse.core.errors import MissingError
from llmcourse.core.isolated import Job
from llmcourse.core.model import expanded
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.config import Config, Rows

# The converter takes the first tokens and leaves the rest; usual text has about 4 bytes in a token.
_BYTES_PER_TOKEN = 8


def calibration_file(config: Config, job: Job, progress: Progress) -> Path | None:
    """The file for the converter's -c, written unless an earlier run did; None for the library's own set.

    Raises:
        LlmcourseError: the data cannot be read (`llmcourse.calibration`).
    """
    wish = config.calibration
    if wish is None:
        return None
    if wish.text and len(wish.text) == 1 and PurePath(wish.text[0]).suffix in TABLE and not wish.column:
        return expanded(wish.text[0]).absolute()
    # The converter writes this name into the result.
    name = PurePath(wish.text[0]).stem if wish.text else str(wish.dataset).replace("/", "-")
    place = job.scratch / "calibration" / f"{name}.parquet"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(place, wish, tokens_needed(config), job, progress)
    return place


def tokens_needed(config: Config) -> int:
    """Tokens that the converter asks of a text of ours."""
    assert config.calibration
    return max(config.calibration.tokens, config.measurement_rows * config.measurement_length)


def _write(place: Path, wish: Rows, tokens: int, job: Job, progress: Progress) -> None:
    import pyarrow
    from pyarrow import parquet

    template = _Template(Path(next(iter(job.inputs.values()))))
    documents = texts(wish, job.settings["calibration"].get("revision"), template, progress)
    with progress.step("read calibration data"):
        rows = list(_first(documents, tokens * _BYTES_PER_TOKEN))
    partial = place.with_suffix(".partial")
    parquet.write_table(pyarrow.table({"text": rows}), partial)
    partial.rename(place)


def _first(documents: Iterator[str], size: int) -> Iterator[str]:
    """Documents until they are so many bytes together."""
    for document in documents:
        yield document
        size -= len(document.encode())
        if size <= 0:
            return


class _Template:
    """The model's chat template; its tokenizer is loaded when a conversation comes, if one does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise MissingError(
                "Conversations need the library transformers, which is not installed.",
                "Run: pip install transformers, or give plain text.",
                where="calibration",
            ) from None
        return AutoTokenizer.from_pretrained(self._folder)

    @property
    def chat_template(self) -> Any:
        return self._tokenizer.chat_template

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        return self._tokenizer.apply_chat_template(messages, **options)
