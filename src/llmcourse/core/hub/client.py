"""The Hub's client, its retries and its errors in our words.

huggingface_hub 2.4 retries uploads and listings by itself, but neither creation of repositories and
branches nor reading of model info: those are safe to repeat, so `retrying` repeats them.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._auth import get_token
from huggingface_hub.utils.tqdm import disable_progress_bars
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from llmcourse.core.errors import LlmcourseError, PlanError, file_error
from llmcourse.core.hub_environment import proxy_for, sends_no_token

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

# What the client raises when the network or the server fails. RuntimeError and ConnectionError are
# its wrappings of upload errors (measured with huggingface_hub 2.4 and hf_xet 1.8).
NETWORK_ERRORS = (httpx2.HTTPError, ConnectionError, TimeoutError)
HUB_ERRORS = (HfHubHTTPError, HFValidationError, EntryNotFoundError, LocalEntryNotFoundError,
              OfflineModeIsEnabled, RuntimeError, OSError, *NETWORK_ERRORS)  # fmt: skip
# An answer that is no JSON of the Hub's kind, such as a network's login page.
STRANGE_ANSWERS = (ValueError, KeyError, TypeError, AttributeError)
_LOCAL_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}


@cache
def api() -> "HfApi":
    from huggingface_hub import HfApi  # a fifth of a second, which a walk through a family does without

    return HfApi(library_name="llmcourse")


def is_offline() -> bool:
    return constants.is_offline_mode()


def endpoint() -> str:
    return constants.ENDPOINT


def cache_folder() -> Path:
    return Path(constants.HF_HUB_CACHE)


def sent_token() -> str | None:
    """The token that goes with what is asked, if any (HF_HUB_DISABLE_IMPLICIT_TOKEN: none does)."""
    return None if sends_no_token() else get_token()


def has_token() -> bool:
    return sent_token() is not None


def no_token(to_do: str) -> tuple[str, str]:
    """Both sentences for a task that needs a token."""
    if sends_no_token():
        return f"HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so there is no token to {to_do} with.", "Unset it."
    return f"There is no Hub token to {to_do} with.", "Run `hf auth login` or set HF_TOKEN."


def token_source() -> str | None:
    """Where the token comes from, None where there is none."""
    if not has_token():
        return None
    named = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), None)
    return named or constants.HF_TOKEN_PATH


def identity() -> dict[str, Any]:
    """Who the token belongs to and what it may, as the Hub says it; raises the client's own errors."""
    return api().whoami()


def probe(timeout_s: float) -> str | None:
    """Why the Hub cannot be reached, as a sentence; None where it answers, whatever it says."""
    try:
        httpx2.get(f"{endpoint()}/api/models?limit=1", timeout=timeout_s)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return f"{endpoint()} does not answer ({first_line(error) or type(error).__name__})."
    return None


def use_quietly(verbose: bool) -> None:
    """The client's bars and warnings would mix with ours; its log is shown with -v."""
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.INFO if verbose else logging.ERROR)


def status_of(error: BaseException) -> int | None:
    """HTTP status behind an error, also where the client wrapped it."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if response is not None:
            return int(response.status_code)
        seen = seen.__cause__ or seen.__context__
    return None


def may_pass(error: BaseException) -> bool:
    """Whether trying again can help."""
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS
    return isinstance(error, NETWORK_ERRORS)


def retrying(call: Callable[[], Result]) -> Result:
    """Repeat a call that is safe to repeat, for about half a minute; Retry-After is obeyed."""
    attempts = Retrying(
        retry=retry_if_exception(may_pass), stop=stop_after_attempt(6), wait=_wait, reraise=True
    )
    return attempts(call)


_backoff = wait_exponential(multiplier=0.5, max=8)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    response = getattr(error, "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(asked), 120.0) if asked.isdigit() else _backoff(state)


@contextmanager
def translated(what: str, error_class: type[LlmcourseError] = PlanError) -> Iterator[None]:
    """Turn the client's errors into one of ours; `what` is the model or repository concerned."""
    try:
        yield
    except (*HUB_ERRORS, *STRANGE_ANSWERS) as error:
        sentence, fix = _sentences(error, what)
        raise error_class(sentence, fix, where=what) from error


def _sentences(error: BaseException, what: str) -> tuple[str, str]:
    """Ordered from special to general: a gated repository is also a missing one to the client."""
    login = login_advice()
    if isinstance(error, GatedRepoError):
        return (
            f"{what} is gated and you have no access.",
            f"Ask for access at {endpoint()}/{what}, or {login}.",
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{what} does not exist.",
            f"See {endpoint()}/{what.partition('@')[0]} for its branches and tags.",
        )
    if isinstance(error, DisabledRepoError):
        return f"{what} has been disabled by the Hub.", "Use another model."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no {what} on the Hub that you can see.",
            f"Check the name; if it is private, {login}.",
        )
    if isinstance(error, HFValidationError):
        return f"{what!r} is no valid repository id.", "Write it as user/name."
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRNOS:
        refusal = file_error(error)
        is_cache = str(error.filename or "").startswith(str(cache_folder()))
        return refusal.what, "Set HF_HOME to a folder of yours that has room." if is_cache else refusal.fix
    if isinstance(error, STRANGE_ANSWERS):
        return (
            f"The Hub's answer for {what} could not be understood ({type(error).__name__}).",
            "Check HF_ENDPOINT and that no login page of your network answers instead.",
        )
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        return f"{what} is not in the local cache and the Hub is not reached.", "Go online and run it again."
    return _status_sentences(error, what)


def _status_sentences(error: BaseException, what: str) -> tuple[str, str]:
    status = status_of(error)
    detail = getattr(error, "server_message", None)
    detail = f" ({detail})" if detail else ""
    if status == 401:
        return f"The Hub refused your token{detail}.", "Run `hf auth login` again or correct HF_TOKEN."
    if status == 403:
        return f"Your token may not do this to {what}{detail}.", "Use a token with write access to it."
    if status == 429:
        return "The Hub's rate limit is reached.", "Wait some minutes and run the same command again."
    if status is not None and status < 500:
        return f"The Hub refused {what}: HTTP {status}{detail}.", "Correct what it says and run it again."
    if status is not None:
        return f"The Hub failed on {what}: HTTP {status}{detail}.", "Run the same command again later."
    return (
        f"The Hub could not be reached for {what} ({type(error).__name__}: {first_line(error)}).",
        unreached("and run the same command again."),
    )


def unreached(then: str = "") -> str:
    """What to do where nothing answers: what stands between us and the Hub."""
    proxy = proxy_for(endpoint())
    if proxy:
        return f"Check the proxy {proxy[1]} ({proxy[0]}), or unset {proxy[0]}, {then}".rstrip(", ")
    named = f"HF_ENDPOINT ({endpoint()})" if "HF_ENDPOINT" in os.environ else ""
    return " ".join(part for part in ("Check the network" + (f" and {named}" if named else ""), then) if part)


def login_advice() -> str:
    """How one gets to see what is private or gated."""
    if has_token():
        return "use a token that may read it"
    if sends_no_token():
        return "unset HF_HUB_DISABLE_IMPLICIT_TOKEN, which keeps your token from being sent"
    return "run `hf auth login` or set HF_TOKEN"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]
