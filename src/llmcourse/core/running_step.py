"""A step that is under way: how far it is, and how long it will take."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmcourse.core.human import human_bytes, human_seconds
from llmcourse.core.progress import Started

if TYPE_CHECKING:
    from rich.progress import TaskID

_LEAST_S = 1.0  # of watching, before a time is told


@dataclass
class RunningStep:
    started: Started
    task: "TaskID | None" = None  # its bar, where bars are shown
    begin: float = field(default_factory=time.monotonic)
    last_shown: float = field(default_factory=time.monotonic)
    first: tuple[float, int] | None = None  # when the first item was done, and how much that was
    last: tuple[float, int] = (0.0, 0)

    def advanced(self, done: int) -> None:
        """Hear that so much is done."""
        self.last = (time.monotonic(), done)
        self.first = self.first or self.last

    def amount(self, done: int) -> str:
        total = self.started.total
        if self.started.unit == "B":
            return f"{human_bytes(done)}" + (f" of {human_bytes(total)}" if total else "")
        return f"{done}" + (f" of {total}" if total else "")

    def time_left(self) -> str:
        """By how fast it went since the first item was done: that one also loaded, compiled or looked up.

        So the first item alone tells no time.
        """
        if not self.started.total or self.first is None:
            return ""
        seconds, done = self.last[0] - self.first[0], self.last[1] - self.first[1]
        if done <= 0 or seconds < _LEAST_S:
            return ""
        return f", {human_seconds(max(0, self.started.total - self.last[1]) * seconds / done)} left"

    def closing_line(self) -> str:
        return f"{self.started.step}: done in {human_seconds(time.monotonic() - self.begin)}"
