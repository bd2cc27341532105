"""Documents of a data set or of files of this machine, one after another."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmcourse.calibration.rows import Rows
from llmcourse.core.calibration import LINES, TABLE, Calibration
from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress

_ROWS_AT_ONCE = 256


def texts(
    wish: Calibration, revision: str | None, tokenizer: Any | None, progress: Progress
) -> Iterator[str]:
    """Documents, without empty ones; a local text file is one, a row of a table or a line of JSON is one.

    A data set is streamed in an order that `wish.seed` shuffles, and a long document of it is cut to a
    passage of about `wish.length` tokens (`stream.documents`).  Files are read in their own order, in whole.
    Conversations go through the tokenizer's chat template.  `revision` pins a data set to a commit.

    Raises:
        PlanError: a file is damaged, a row has no text, or there is no chat template for conversations.
        LibraryError: the data set cannot be read, also after retries.
    """
    if wish.dataset is not None:
        # Heavy, and it knows the network: files of this machine need neither.
        from llmcourse.calibration import stream

        yield from filter(str.strip, stream.documents(wish, revision, tokenizer, progress))
        return
    for path in wish.files().values():
        rows = Rows(wish.column, tokenizer)
        yield from filter(str.strip, _reader(path)(path, rows))


def _reader(path: Path) -> Callable[[Path, Rows], Iterator[str]]:
    readers = dict.fromkeys(LINES, _lines) | dict.fromkeys(TABLE, _table)
    return readers.get(path.suffix.lower(), _plain)


def _plain(path: Path, _: Rows) -> Iterator[str]:
    try:
        yield path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _damaged(path, f"is not UTF-8 text ({error.reason})") from None


def _lines(path: Path, rows: Rows) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise PlanError(f"{where} is not JSON ({error}).", "Correct this line.", where) from None
            if not isinstance(row, dict):
                raise PlanError(f"{where} is not a JSON object.", 'Write {"text": "…"}.', where)
            yield rows.document(row, where)


def _table(path: Path, rows: Rows) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    if not rows.is_empty(row):
                        yield rows.document(row, f"{path.name}, row {number}")
    except pyarrow.ArrowException as error:
        raise _damaged(path, f"is no whole parquet file ({error})") from None


def _damaged(path: Path, what: str) -> PlanError:
    return PlanError(f"{path.name} {what}.", "Write or download it again.", where=str(path))
