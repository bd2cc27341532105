"""The Hub's client, its retries and its errors in our words.

huggingface_hub 2.4 retries uploads and listings by itself, but neither creation of repositories and
branches nor reading of model info: those are safe to repeat, so `retrying` repeats them.
"""

import difflib
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
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
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from llmcourse.core.errors import ConfigError, LlmcourseError, PlanError, file_error
from llmcourse.core.hub.waiting import LONGEST_WAIT_S, tell_waits, wait, wait_of
from llmcourse.core.hub_environment import proxy_for, sends_no_token
from llmcourse.core.human import human_seconds
from llmcourse.core.progress import silent

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Result = TypeVar("Result")

# What the client raises when the network or the server fails. RuntimeError and ConnectionError are
# its wrappings of upload errors (measured with huggingface_hub 2.4 and hf_xet 1.8).
NETWORK_ERRORS = (httpx2.HTTPError, ConnectionError, TimeoutError)
HUB_ERRORS = (HfHubHTTPError, HFValidationError, EntryNotFoundError, LocalEntryNotFoundError,
              OfflineModeIsEnabled, RuntimeError, OSError, *NETWORK_ERRORS)  # fmt: skip
# The Hub answers 403 for storage that is used up, as for a missing right (huggingface_hub#3048).
_STORAGE = re.compile(r"storage|quota|upgrade your plan|exceed", re.IGNORECASE)
_LISTED = 1000  # of an owner's models, the newest first: one page
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


def use_quietly(verbose: bool, tell: Callable[[str], None] = silent) -> None:
    """The client's bars and warnings would mix with ours; its log is shown with -v. `tell` hears of waits."""
    tell_waits(tell)
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
    """Whether trying again can help, and soon."""
    if (wait_of(error) or 0) > LONGEST_WAIT_S:
        return False
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS
    return isinstance(error, NETWORK_ERRORS)


def retrying(call: Callable[[], Result]) -> Result:
    """Repeat a call that is safe to repeat, for about half a minute, or as long as the Hub asks to wait."""
    attempts = Retrying(
        retry=retry_if_exception(may_pass), stop=stop_after_attempt(6), wait=wait, reraise=True
    )
    return attempts(call)


@contextmanager
def translated(what: str, error_class: type[LlmcourseError] = PlanError, reads: str = "") -> Iterator[None]:
    """Turn the client's errors into one of ours; `what` is the model or repository concerned.

    Where a "model" or a "dataset" is read that is not there, one that was probably meant is looked for.
    """
    try:
        yield
    except (*HUB_ERRORS, *STRANGE_ANSWERS) as error:
        if isinstance(error, HFValidationError):  # what the config or the command line says wrongly
            sentence = f"{what.removeprefix('datasets/')!r} is no valid repository id."
            raise ConfigError(sentence, "Write it as user/name.", where=what) from error
        sentence, fix = _sentences(error, what)
        is_unknown = isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError)
        near = near_id(what, reads) if reads and is_unknown else None
        if near:
            fix = f"Did you mean {near}? {fix}"
        raise error_class(sentence, fix, where=what) from error


def near_id(what: str, kind: str = "model") -> str | None:
    """The id that was probably meant: of the models (or data sets) of this owner, else of that name."""
    repo = what.removeprefix("hf://").removeprefix("datasets/").partition("@")[0]
    owner, _, name = repo.rpartition("/")
    searches: list[dict[str, Any]] = [{"author": owner}] if owner else []
    listing = api().list_models if kind == "model" else api().list_datasets
    try:
        for search in [*searches, {"search": name}]:
            listed = listing(**search, limit=_LISTED)
            found = nearest(repo, [item.id for item in listed])
            if found:
                return found
    except (*HUB_ERRORS, *STRANGE_ANSWERS):
        return None  # the error that is being told says enough
    return None


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """Of these ids the one that is most like it, in any letter case."""
    spelled = {name.lower(): name for name in known}
    near = difflib.get_close_matches(wanted.lower(), spelled, 1, 0.75)
    return spelled[near[0]] if near else None


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
    if isinstance(error, OSError) and error.errno in _LOCAL_ERRNOS:
        refusal = file_error(error)
        is_cache = str(error.filename or "").startswith(str(cache_folder()))
        return refusal.what, "Set HF_HOME to a folder of yours that has room." if is_cache else refusal.fix
    if (
        isinstance(error, STRANGE_ANSWERS) and status_of(error) is None
    ):  # a refusal of 400 is one to the client
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
    if status == 402 or (status in (400, 403, 413, 422) and _STORAGE.search(detail)):
        return (
            f"The Hub has no room for {what}{detail}.",
            f"Free storage or get more ({endpoint()}/settings/billing), then run the same command again; "
            "it goes on from here.",
        )
    if status == 401:
        return f"The Hub refused your token{detail}.", "Run `hf auth login` again or correct HF_TOKEN."
    if status == 403:
        return f"Your token may not do this to {what}{detail}.", "Use a token with write access to it."
    if status == 429:
        asked = wait_of(error)
        return (
            "The Hub's rate limit is reached.",
            f"Wait {human_seconds(asked) if asked else 'some minutes'} and run the same command again.",
        )
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
