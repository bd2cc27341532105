"""Answers of the Hub kept on disk with their ETags, so that what has not changed is not sent again.

One SQLite file in the folder of `core.cache`: to make a file for each answer took longer than to get it.  The
key of an answer depends on the address, the parameters and who asks: what one token may see is not shown to
another.  A file that is damaged is begun anew; a cache that cannot be written costs time and nothing else.
"""

import hashlib
import json
import os
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from llmcourse.core.cache import cache_folder

_NAME = "hub-answers.sqlite"
# The format's number is part of the table's name, so that versions of llmcourse can share the file.
_CREATE = "CREATE TABLE IF NOT EXISTS answers_1 (key TEXT PRIMARY KEY, kept_at REAL, answer TEXT)"
_FIND = "SELECT answer FROM answers_1 WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO answers_1 VALUES (?, ?, ?)"
_FORGET = "DELETE FROM answers_1 WHERE kept_at < ?"
_BATCH = 256
_MOST_DAYS = 180  # since an answer was last of use
_MOST_BYTES = 100_000_000
_SIZE = """SELECT (page_count - freelist_count) * page_size
  FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""
_FORGET_HALF = """DELETE FROM answers_1 WHERE kept_at <= (
  SELECT kept_at FROM answers_1 ORDER BY kept_at LIMIT 1 OFFSET (SELECT count(*) / 2 FROM answers_1))"""
_BUSY_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What the Hub said. `status` 0: it did not answer, and `message` says why."""

    status: int
    body: str = ""
    etag: str = ""
    next_page: str = ""  # address of the next page of a list
    code: str = ""  # X-Error-Code
    message: str = ""  # X-Error-Message

    @property
    def is_lasting(self) -> bool:
        """Whether it is worth keeping: what there is, and that there is nothing."""
        is_refused_for_good = bool(self.code) and 400 <= self.status < 500 and self.status != 429
        return self.status in (200, 206, 404) or is_refused_for_good


class KeptAnswers:
    """The answers that one user got from one endpoint; threads may share it. `close` writes what is new."""

    def __init__(self, endpoint: str, token: str | None) -> None:
        self._asker = f"{endpoint}\0{token or ''}"
        self._new: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._file = _opened(cache_folder() / _NAME)

    def find(self, question: str) -> Answer | None:
        key = self._key(question)
        with self._lock:
            if key in self._new or self._file is None:
                return self._new.get(key)
            try:
                row = self._file.execute(_FIND, (key,)).fetchone()
                return Answer(**json.loads(row[0])) if row else None
            except (sqlite3.Error, ValueError, TypeError):
                return None

    def keep(self, question: str, answer: Answer) -> None:
        """Keep it, or keep it longer, since it was of use again."""
        with self._lock:
            self._new[self._key(question)] = answer
            if len(self._new) >= _BATCH:
                self._write()

    def close(self) -> None:
        with self._lock:
            self._write()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self) -> None:
        now = time.time()
        rows = [(key, now, json.dumps(asdict(answer))) for key, answer in self._new.items()]
        self._new.clear()
        if self._file is None or not rows:
            return
        with suppress(sqlite3.Error), self._file:
            self._file.execute(_FORGET, (now - _MOST_DAYS * 86400,))
            if self._file.execute(_SIZE).fetchone()[0] > _MOST_BYTES:
                self._file.execute(_FORGET_HALF)
            self._file.executemany(_KEEP, rows)

    def _key(self, question: str) -> str:
        return hashlib.sha256(f"{self._asker}\0{question}".encode()).hexdigest()[:40]


def _opened(path: Path) -> sqlite3.Connection | None:
    """The file, a new one where it is none of SQLite's; None where there can be none."""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Private models have answers too: like a token, they are for their owner's eyes.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            file = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
            file.execute(_CREATE)
            file.execute(_FIND, ("",))
            return file
        except (sqlite3.OperationalError, OSError):
            return None  # read only, locked, no place: another time
        except sqlite3.DatabaseError:
            with suppress(OSError):
                path.unlink()
    return None
