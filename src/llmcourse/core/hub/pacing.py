"""Keeps many threads together within the Hub's rate limits, and tells when they wait.

The Hub counts requests to its API and to its files apart, in fixed windows, and says in every answer how many
are left and when the window ends (huggingface.co/docs/hub/rate-limits).  So nobody needs to be refused: who
would ask for more than is left waits for the next window.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from llmcourse.core.hub.waiting import retry_after_s

Bucket = Literal["api", "resolvers"]

# The Hub rounds the end of a window to seconds.
_MARGIN_S = 0.5
_GLANCE_S = 0.02
_UNSAID_S = 5
_STATE = re.compile(r'"(?P<bucket>[\w-]+)"\s*;\s*r=(?P<left>\d+)\s*;\s*t=(?P<reset>\d+)')
_POLICY = re.compile(r"q=(?P<quota>\d+).*?w=(?P<window>\d+)")


class Stopped(Exception):
    """Whoever waits is no longer needed."""


@dataclass
class _Window:
    left: int | None = None  # the least that an answer said; None: not known
    in_flight: int = 0  # requests that no answer has counted yet, as far as we know
    ends_at: float = 0.0
    is_told: bool = False  # the end was said by the Hub and not reckoned
    told_until: float = 0.0
    quota: int | None = None
    length_s: float = 300.0
    policy: str = ""

    @property
    def is_open(self) -> bool:
        return self.left is None or self.left > self.in_flight

    def turn(self, now: float) -> None:
        """Into the next window if this one is over; how much is left of that, the next answer tells."""
        if self.left is not None and now >= self.ends_at:
            self.left, self.ends_at, self.is_told = self.quota, now + self.length_s, False


class Pacing:
    """What is left of each window; `tell` gets a sentence once for each wait, from the thread that waits."""

    def __init__(self, tell: Callable[[str], None], advice: str = "") -> None:
        self._tell = tell
        self._advice = advice
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @contextmanager
    def turn(self, bucket: Bucket) -> Iterator[None]:
        """Holds one request of the window, and waits for it first.

        Raises:
            Stopped: `stop` was called.
        """
        self._enter(bucket)
        try:
            yield
        finally:
            with self._lock:
                self._windows[bucket].in_flight -= 1

    def _enter(self, bucket: Bucket) -> None:
        while True:
            with self._lock:
                window = self._windows.setdefault(bucket, _Window())
                now = time.monotonic()
                window.turn(now)
                if window.is_open:
                    window.in_flight += 1
                    return
                # With something left, an answer under way will tell whether it is enough.
                wait_s = window.ends_at - now if window.left == 0 else _GLANCE_S
                self._tell_wait(window, wait_s)
            self.sleep(wait_s)

    def heard(self, bucket: Bucket, headers: Mapping[str, str], is_refused: bool) -> None:
        """Learn from an answer: whoever asks next waits as long as it says."""
        found = _STATE.search(headers.get("RateLimit", ""))
        if found:
            left, reset_s = int(found["left"]), int(found["reset"])
        elif is_refused:
            said = retry_after_s(headers.get("Retry-After", ""))
            left, reset_s = 0, _UNSAID_S if said is None else round(said)
        else:
            return
        policy = _POLICY.search(headers.get("RateLimit-Policy", ""))
        with self._lock:
            window = self._windows.setdefault(bucket, _Window())
            if policy:
                window.quota, window.length_s = int(policy["quota"]), float(policy["window"])
                window.policy = f" of {policy['quota']} requests in {policy['window']} s"
            ends_at = time.monotonic() + reset_s + _MARGIN_S
            self._learn(window, 0 if is_refused else left, ends_at)

    @staticmethod
    def _learn(window: _Window, left: int, ends_at: float) -> None:
        """Answers come in any order, and their ends are rounded; of one window the least holds."""
        later_s = ends_at - window.ends_at
        is_same = abs(later_s) < min(2.0, window.length_s / 2)
        if later_s < 0 and window.is_told and not is_same:
            return  # of a window that is over
        if is_same or not window.is_told:
            window.left = left if window.left is None else min(left, window.left)
        else:
            window.left = left
        window.ends_at, window.is_told = ends_at, True

    def _tell_wait(self, window: _Window, wait_s: float) -> None:
        if wait_s >= 1 and abs(window.told_until - window.ends_at) > 1:
            window.told_until = window.ends_at
            self._tell(f"waiting {round(wait_s)} s for the Hub's rate limit{window.policy}{self._advice}")

    def sleep(self, seconds: float) -> None:
        """Raises Stopped as soon as `stop` is called."""
        if self._stopped.wait(seconds):
            raise Stopped

    def stop(self) -> None:
        self._stopped.set()
