"""The request log: what clients really sent and received, in memory and as JSON lines on disk.

Tests assert on it ("the second run sent no xorb"); the file serves those who run the hub in another
process. It never holds a token, only the token's name.
"""

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

HEADERS_OF_INTEREST = ("range", "content-type", "content-length", "user-agent", "if-none-match")
_SETTLE_S = 0.5


@dataclass
class RequestRecord:
    """One request. `status` 0: the connection was cut before an answer. Bytes are body bytes.

    `weight_bytes`: of `response_bytes`, those that are model weights (xorbs, or weight files beyond
    the safetensors header).
    """

    method: str
    path: str
    time: float
    token: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    weight_bytes: int = 0
    duration_s: float = 0.0
    error: str | None = None


class RequestLog:
    """Appends a record when its request starts, completes it in place, and writes it when it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: list[RequestRecord] = []
        self._in_flight = 0
        self._changed = threading.Condition()

    def begin(self, method: str, path: str, headers: Mapping[str, str], is_kept: bool) -> RequestRecord:
        """Open the record of a request that has just arrived; one that is not kept only counts bytes."""
        kept = {name: headers[name] for name in HEADERS_OF_INTEREST if headers.get(name) is not None}
        record = RequestRecord(method, path, time.time(), headers=kept)
        if is_kept:
            with self._changed:
                self._records.append(record)
                self._in_flight += 1
        return record

    def finish(self, record: RequestRecord) -> None:
        """Close the record and write it to disk."""
        record.duration_s = time.time() - record.time
        with self._changed:
            with self._path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(asdict(record)) + "\n")
            self._in_flight -= 1
            self._changed.notify_all()

    def records(self) -> list[RequestRecord]:
        """All records so far.

        Waits up to half a second for requests in flight: a client may have its answer, and its
        caller look here, before the server's thread has counted the last bytes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight == 0, timeout=_SETTLE_S)
            return list(self._records)

    def clear(self) -> None:
        """Forget everything, on disk too."""
        with self._changed:
            self._records.clear()
            self._path.write_text("", encoding="utf-8")


def read_log(path: Path) -> list[RequestRecord]:
    """Read the log that a hub (perhaps in another process) keeps at `<root>/requests.jsonl`."""
    return [RequestRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def weight_bytes(records: Iterable[RequestRecord]) -> int:
    """Sum the model weights that left the server."""
    return sum(record.weight_bytes for record in records)
