"""What may go wrong at RunPod, asked for by a test; nothing here happens by itself."""

import dataclasses
import threading
from dataclasses import dataclass
from typing import Literal

Kind = Literal["status", "error", "drop", "apply_then_drop", "apply_then_status", "slow"]


@dataclass
class PodFault:
    """A request for the field `field` (as `podTerminate`) fails, `skip` times not and then `times` times.

    `status` answers with that HTTP status and a page that is no JSON; `error` with GraphQL's `message`;
    `drop` closes the connection before anything was done, `apply_then_…` after it was done; `slow` waits
    `seconds` after it was done.  `times` None is for ever.
    """

    field: str
    kind: Kind
    times: int | None = 1
    skip: int = 0
    status: int = 500
    message: str = ""
    seconds: float = 0.0
    matches: int = dataclasses.field(default=0, init=False)

    def takes(self, name: str) -> bool:
        if name != self.field:
            return False
        self.matches += 1
        before = self.matches - 1 - self.skip
        return before >= 0 and (self.times is None or before < self.times)


class PodFaults:
    """Rules in force; the first that takes a request wins."""

    def __init__(self) -> None:
        self.rules: list[PodFault] = []
        self._lock = threading.Lock()

    def take(self, name: str) -> PodFault | None:
        with self._lock:
            return next((rule for rule in list(self.rules) if rule.takes(name)), None)
