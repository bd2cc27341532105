"""GitHub's REST API, as far as gists need it: requests, what may be tried again, refusals in our words."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

Result = TypeVar("Result")

_TIMEOUT_S = 30
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
_NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class Refusal(Exception):
    """What GitHub answered instead; `status` is None where nothing came back."""

    def __init__(self, status: int | None, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.wait_s = wait_s

    @property
    def may_pass(self) -> bool:
        """Whether trying again can help; a limit that lasts long is not waited for."""
        if self.wait_s is not None:
            return self.wait_s <= 120
        return self.status is None or self.status in _PASSING_STATUS

    def sentences(self, what: str) -> tuple[str, str]:
        """What is wrong with `what`, and what to do."""
        told = f" ({self.message})" if self.message else ""
        match self.status:
            case 401:
                return f"GitHub refused your token{told}.", "Set GITHUB_TOKEN to one that is valid."
            case 403 | 429 if self.wait_s is not None:
                return "GitHub's rate limit is reached.", "Wait an hour and run the same command again."
            case 403:
                return (
                    f"Your GitHub token may not write gists{told}.",
                    "Use a classic token with the scope gist, or a fine-grained one with Gists: write;"
                    " the token of a GitHub action cannot have either.",
                )
            case 404:
                return (
                    f"GitHub shows nothing for {what}: it does so where a token lacks the scope gist.",
                    "Give the token in GITHUB_TOKEN the scope gist.",
                )
            case 422:
                return f"GitHub finds {what} invalid{told}.", "Report this with the text of the summary."
            case None:
                return f"GitHub could not be reached for {what}{told}.", "Run the same command again later."
            case _:
                return f"GitHub failed on {what}: HTTP {self.status}{told}.", "Run the same command again."


class _NoRedirect(HTTPRedirectHandler):
    """urllib would send the token along to wherever it is led."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Answer:
    data: Any
    headers: dict[str, str]

    @property
    def next_page(self) -> str | None:
        match = _NEXT.search(self.headers.get("link", ""))
        return match[1] if match else None


@dataclass(frozen=True)
class GitHub:
    """The API at `url` (GITHUB_API_URL, as actions set it), with a token that is never shown."""

    token: str
    url: str

    @classmethod
    def of_environment(cls) -> "GitHub | None":
        """None where there is no GITHUB_TOKEN."""
        token = os.environ.get("GITHUB_TOKEN", "").strip()
        url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        return cls(token, url.rstrip("/")) if token else None

    def __repr__(self) -> str:
        return f"GitHub({self.url})"

    def ask(self, method: str, path: str, data: Any = None) -> Answer:
        """One request.

        Raises:
            Refusal: anything but success.
        """
        body = None if data is None else json.dumps(data).encode()
        request = Request(self.url + path, body, method=method, headers={
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "User-Agent": "llmcourse",
            "X-GitHub-Api-Version": "2022-11-28",
        })  # fmt: skip
        try:
            with build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_S) as response:
                text = response.read()
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(json.loads(text) if text else None, headers)
        except HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (OSError, HTTPException) as error:
            raise Refusal(None, f"{type(error).__name__}: {error}") from None
        except ValueError:
            raise Refusal(None, "its answer is no JSON") from None

    def gists(self) -> list[dict[str, Any]]:
        """All gists of the user, public and secret, without their content; the last changed first."""
        found: list[dict[str, Any]] = []
        page: str | None = "/gists?per_page=100&page=1"
        while page:
            answer = self.ask("GET", page)
            found += answer.data
            following = answer.next_page
            # Only the query: the token goes to no other host than the one it was given for.
            page = f"/gists?{following.partition('?')[2]}" if following else None
        return found


def patiently(call: Callable[[], Result]) -> Result:
    """Repeat what is safe to repeat, for about a quarter of a minute; Retry-After is obeyed."""
    attempts = Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, Refusal) and error.may_pass),
        stop=stop_after_attempt(5),
        wait=_wait,
        reraise=True,
    )
    return attempts(call)


_BACKOFF = wait_random_exponential(multiplier=0.5, max=8)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, Refusal) else None
    return asked if asked is not None else _BACKOFF(state)


def _refusal(error: HTTPError) -> Refusal:
    try:
        message = str(json.loads(error.read())["message"])
    except (ValueError, KeyError, TypeError):
        message = str(error.reason)
    asked = error.headers.get("Retry-After", "")
    wait_s = float(asked) if asked.isdigit() else None
    if wait_s is None and error.code in (403, 429) and error.headers.get("X-RateLimit-Remaining") == "0":
        wait_s = float("inf")
    return Refusal(error.code, message, wait_s if error.code in (403, 429) else None)
