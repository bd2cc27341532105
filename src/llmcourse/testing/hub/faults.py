"""Faults on demand: rules that make the loopback Hub fail the way networks and the Hub do.

They exist so that a test can ask for exactly one failure at exactly one request; they never fire
on their own and never touch what is stored unless `apply_then_drop` says so.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """One rule. Every request that matches `method` and `path` (regular expressions) counts.

    The path is matched with its query, still quoted. The first `skip` matches pass untouched, the
    next `times` matches fail (`None`: all of them, for ever).

    `drop_upload_after_bytes` stops reading the request body there, and nothing is applied;
    `drop_download_after_bytes` stops the answer's body there. Both close in an orderly way (FIN),
    or by a TCP reset with `reset`: the client resumes a download only after the first kind.
    `apply_then_drop` lets the server do the work and loses the answer.
    """

    method: str = ".*"
    path: str = ".*"
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    drop_upload_after_bytes: int | None = None
    drop_download_after_bytes: int | None = None
    reset: bool = False
    sleep_s: float = 0.0
    apply_then_drop: bool = False
    expired_token: bool = False
    matches: int = field(default=0, init=False)

    def _takes(self, method: str, target: str) -> bool:
        if not re.fullmatch(self.method, method) or not re.search(self.path, target):
            return False
        self.matches += 1
        fired_before = self.matches - 1 - self.skip
        return fired_before >= 0 and (self.times is None or fired_before < self.times)


class FaultRules:
    """The rules in force. `rules` is the list users append to; the first rule that takes a request wins."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._lock = threading.Lock()

    def take(self, method: str, target: str) -> Fault | None:
        """Count the request against the rules in order and return the one that fires."""
        with self._lock:
            return next((rule for rule in list(self.rules) if rule._takes(method, target)), None)


class DroppedByFault(Exception):
    """Raised inside the server to cut the connection without an answer."""
