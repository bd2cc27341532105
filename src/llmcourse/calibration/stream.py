"""A data set of the Hub, read as far as it is needed and kept nowhere."""

import random
from collections.abc import Iterator
from typing import Any

import datasets

from llmcourse.calibration.rows import Rows
from llmcourse.core import hub
from llmcourse.core.calibration import Calibration, config_of
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.progress import Progress

# Rows among which the next one is drawn, and files that they come from.  Of each file some megabytes are
# read before its first row is there, so more of them would cost more than they bring.
_BUFFER_ROWS, _BUFFER_FILES = 1000, 4
_CHARACTERS_PER_TOKEN = 8  # mostly fewer
# A read is tried six times by the Hub's client, for half a minute; each of these does so again.
datasets.config.STREAMING_READ_MAX_RETRIES = 2


def documents(
    wish: Calibration, revision: str | None, tokenizer: Any | None, progress: Progress
) -> Iterator[str]:
    """Documents in an order shuffled by the seed; of a long one a passage of about `wish.length` tokens.

    A window shows a quantizer one kind of text.  In the usual sets of web pages a few documents are a
    hundred times longer than the rest; whole, one of them would fill most windows.  A passage begins
    at a place that the seed draws, since the beginnings of documents are alike (titles, licences).

    Conversations that the chat template refuses are left out, and counted at the end.

    Raises:
        PlanError: there is no such config or split, no text in a row, or no chat template.
        LibraryError: it cannot be read, also after the client's own retries.
    """
    assert wish.dataset is not None, "the caller looked"
    name, _, branch = wish.dataset.partition("@")
    facts = hub.read_dataset(f"{name}@{revision or branch}".removesuffix("@"))
    config = config_of(wish.name, facts)
    draw = random.Random(wish.seed)
    rows = Rows(wish.column, tokenizer, leaves_out=True)
    named = config if wish.name or config != "default" else None
    try:
        for row in _rows(wish, facts.id, facts.revision, named):
            if not rows.is_empty(row):
                text = rows.document(row, f"a row of {facts.id}")
                yield _passage(text, wish.length * _CHARACTERS_PER_TOKEN, draw)
    finally:  # also where the reader has enough
        if rows.refused:
            count = f"{rows.refused} conversations of {facts.id}"
            progress.note(f"The chat template refuses {count}; they are left out.")


def _rows(wish: Calibration, repo: str, revision: str, config: str | None) -> Iterator[dict[str, Any]]:
    try:
        stream = datasets.load_dataset(
            f"hf://datasets/{repo}",  # so that no folder of this name is taken for it
            config,
            split=wish.split,
            revision=revision,
            streaming=True,
        )
        # Several files are read by threads, for which the library waits five seconds at the end (5.2).
        files = min(_BUFFER_FILES, stream.num_shards)
        yield from stream.shuffle(wish.seed, buffer_size=_BUFFER_ROWS, max_buffer_input_shards=files)
    except LlmcourseError:
        raise
    except Exception as error:  # of the network, of the format, of the library: each has its own class
        raise hub.stream_error(error, repo) from error


def _passage(text: str, length: int, draw: random.Random) -> str:
    if len(text) <= length:
        return text
    start = draw.randrange(len(text) - length + 1)
    return text[start : start + length]
