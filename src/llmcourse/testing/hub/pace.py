"""How fast uploads arrive: all of them together share one uplink, as at a user's home."""

import threading
import time

# The link goes on filling the receiver's socket while the receiver hashes or waits for a processor.
_BUFFER_S = 0.1


class Pace:
    """Holds back whoever takes bytes faster than `bytes_per_s`; None is as fast as this machine can."""

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Return when these bytes have come through."""
        if self.bytes_per_s is None:
            return
        with self._lock:
            begin = max(time.monotonic() - _BUFFER_S, self._free_at)
            self._free_at = begin + count / self.bytes_per_s
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))
