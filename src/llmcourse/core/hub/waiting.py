"""How long the Hub asks to wait before a request is made again, and a word of it to the user.

It says so in two ways: how much is left of a rate limit's window (RateLimit), which its client reads, and
Retry-After, of whose two forms, seconds and a date, its client reads the first.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from huggingface_hub.utils._http import parse_ratelimit_headers
from tenacity import RetryCallState, wait_exponential

from llmcourse.core.human import human_seconds
from llmcourse.core.progress import silent

# A window of the Hub is five minutes; who is asked to wait longer is better told.
LONGEST_WAIT_S = 600.0
_TOLD_S = 5.0
_MARGIN_S = 0.5  # the Hub rounds to seconds
_backoff = wait_exponential(multiplier=0.5, max=8)
_tell: Callable[[str], None] = silent


def tell_waits(tell: Callable[[str], None]) -> None:
    """Have `tell` called before each wait that people would notice."""
    global _tell
    _tell = tell


def retry_after_s(said: str) -> float | None:
    """Seconds of a Retry-After, which may be a date; None where it says nothing."""
    said = said.strip()
    if said.isdigit():
        return float(said)
    try:
        until = parsedate_to_datetime(said)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # none, or a date without its zone
        return None


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, None where it does not."""
    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + _MARGIN_S
    return retry_after_s(headers.get("Retry-After") or headers.get("retry-after") or "")


def wait_of(error: BaseException | None) -> float | None:
    """What the answer behind an error asks for, also where the client wrapped it."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return asked_wait_s(response.headers)
        error = error.__cause__ or error.__context__
    return None


def wait(state: RetryCallState) -> float:
    """For tenacity: as long as the Hub asks, else a little longer each time."""
    error = state.outcome.exception() if state.outcome else None
    asked = wait_of(error)
    if asked is None:
        return _backoff(state)
    if asked >= _TOLD_S:
        _tell(f"waiting {human_seconds(asked)}, as the Hub asks")
    return asked
