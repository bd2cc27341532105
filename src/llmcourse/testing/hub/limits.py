"""Rate limits as the Hub has them: so many requests in a fixed window, for its API and for files apart.

Headers and the two names are the Hub's (huggingface.co/docs/hub/rate-limits and the draft
draft-ietf-httpapi-ratelimit-headers).
"""

import math
import threading
import time
from collections import Counter

from llmcourse.testing.hub.protocol import HubError, Request


class RateLimits:
    """Requests that one user, or all who are not signed in, may make in `window_s`; None is no limit."""

    def __init__(self) -> None:
        self.api: int | None = None
        self.resolvers: int | None = None
        self.window_s = 300.0
        self._begin = 0.0
        self._taken: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def take(self, request: Request) -> dict[str, str]:
        """Count a request and return the headers of its answer.

        Raises:
            HubError: 429, the window has no more.
        """
        name = "resolvers" if "/resolve/" in request.path else "api"
        allowed = self.resolvers if name == "resolvers" else self.api
        if allowed is None or not (name == "resolvers" or request.path.startswith("/api/")):
            return {}
        who = request.token.user if request.token else ""
        with self._lock:
            now = time.monotonic()
            if now >= self._begin + self.window_s:
                self._begin = now
                self._taken.clear()
            self._taken[name, who] += 1
            left = allowed - self._taken[name, who]
            reset_s = math.ceil(self._begin + self.window_s - now)
        headers = {
            "RateLimit": f'"{name}";r={max(0, left)};t={reset_s}',
            "RateLimit-Policy": f'"fixed window";"{name}";q={allowed};w={math.ceil(self.window_s)}',
        }
        if left < 0:
            error = HubError(429, "We had to rate limit your IP. To continue using our service, log in.")
            error.headers |= headers
            raise error
        return headers
