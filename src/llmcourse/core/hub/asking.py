"""Many questions to the Hub at once: read only, within its rate limits, kept on disk, never raising.

huggingface_hub's own calls go one after another over a client that keeps 20 connections, and know no ETags of
the API.  This asks in many threads, each with a connection of its own that is made once.
"""

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
from huggingface_hub import __version__ as hub_version

from llmcourse import __version__
from llmcourse.core.hub.client import endpoint, first_line, is_offline, sent_token
from llmcourse.core.hub.kept_answers import Answer, KeptAnswers
from llmcourse.core.hub.pacing import Bucket, Pacing, Stopped
from llmcourse.core.hub.workers import Workers

Item = TypeVar("Item")
Result = TypeVar("Result")

# 300 models in nine levels of up to 60, at 0.1 s an answer: 1.2 s with 64 threads, 1.4 s with 32.
_THREADS = 64
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_REFUSALS = 20  # of the rate limit, each of which is waited for
_PASSING_STATUS = {408, 500, 502, 503, 504}
_MAX_BYTES = 4_000_000  # of a text; nothing that tells of a model's origin is longer
_MAX_API_BYTES = 200_000_000  # of a page of a list, whose entries have cards and names of files


class Hub:
    """Asks the Hub until it is closed; `with` closes it. Offline, what was kept is all there is."""

    def __init__(self, tell: Callable[[str], None], stay_offline: bool = False) -> None:
        token = sent_token()
        self.is_offline = stay_offline or is_offline()
        self.has_token = token is not None
        self.url = endpoint().rstrip("/")
        self._kept = KeptAnswers(self.url, token)
        self._pacing = Pacing(tell, "" if token else " (more with a token: run `hf auth login`)")
        self._clients = _Clients(token)
        self._workers = Workers(_THREADS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pacing.stop()
        self._workers.stop()
        self._clients.close()
        self._kept.close()

    def map(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterable[Result]:
        """The results in the order of the items; the calls run side by side."""
        return self._workers.map(call, items)

    def submit(self, call: Callable[[], Result], priority: int = 0) -> "Future[Result]":
        """Have a call made as soon as there is a thread for it; those of lower numbers come first."""
        return self._workers.submit(call, priority)

    def api(self, path: str) -> Answer:
        """An answer of the API, 200 also where it is the kept one that still holds; `path` with its query."""
        return self._ask(f"/api/{path}", "api")

    def page(self, address: str) -> Answer:
        """The page that another one named as its next; an address elsewhere is not followed."""
        if not address.startswith(f"{self.url}/api/"):
            return Answer(0, message="the next page is said to be elsewhere")
        return self._ask(address.removeprefix(self.url), "api")

    def file(self, path: str, first_bytes: int | None = None) -> Answer:
        """A text, or a file's first bytes as Latin-1; `path` names a commit, so it is asked for once."""
        return self._ask(f"/{path}", "resolvers", first_bytes)

    def _ask(self, path: str, bucket: Bucket, first_bytes: int | None = None) -> Answer:
        question = path if first_bytes is None else f"{path}#{first_bytes}"
        kept = self._kept.find(question)
        if self.is_offline:
            return kept or Answer(0, message="it is not among the answers that were kept")
        if kept and bucket == "resolvers" and kept.status in (200, 206):
            self._kept.keep(question, kept)
            return kept
        headers = {"If-None-Match": kept.etag} if kept and kept.etag and kept.status == 200 else {}
        if first_bytes is not None:
            headers["Range"] = f"bytes=0-{first_bytes - 1}"
        try:
            answer = self._answer(path, bucket, headers, first_bytes)
        except Stopped:
            return Answer(0, message="the walk was stopped")
        if answer.status == 304 and kept:
            answer = kept
        if answer.is_lasting:
            self._kept.keep(question, answer)
        return answer

    def _answer(self, path: str, bucket: Bucket, headers: dict[str, str], first_bytes: int | None) -> Answer:
        """Ask until there is an answer that trying again would not change."""
        url = self.url + path
        failures = refusals = 0
        while True:
            is_refused = False
            try:
                client = self._clients.mine()
                with self._pacing.turn(bucket), client.stream("GET", url, headers=headers) as response:
                    answer = _read(response, bucket, first_bytes)
                    is_refused = response.status_code == 429
                    self._pacing.heard(bucket, response.headers, is_refused)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                answer = Answer(0, message=f"{type(error).__name__}: {first_line(error)}")
            if is_refused and refusals < _REFUSALS:
                refusals += 1
                continue
            if answer.status and answer.status != 429 and answer.status not in _PASSING_STATUS:
                return answer
            failures += 1
            if failures == _ATTEMPTS:
                return answer
            self._pacing.sleep(0.5 * 2 ** (failures - 1))


class _Clients:
    """A client for each thread, all with one SSL context, whose making takes longest.

    A client that threads share looks at all its connections for each request, and locks them meanwhile: with
    sixty of them that takes longer than all else.
    """

    def __init__(self, token: str | None) -> None:
        self._headers = _headers(token)
        self._context = httpx2.create_ssl_context()
        self._own = threading.local()
        self._all: list[httpx2.Client] = []

    def mine(self) -> httpx2.Client:
        client: httpx2.Client | None = getattr(self._own, "client", None)
        if client is None:
            client = httpx2.Client(
                headers=self._headers, follow_redirects=True, timeout=_TIMEOUT_S, verify=self._context
            )
            self._own.client = client
            self._all.append(client)
        return client

    def close(self) -> None:
        for client in self._all:
            client.close()


def _headers(token: str | None) -> dict[str, str]:
    """Ours and not the client's: building those asks the Hub something else first, once a day."""
    agent = {"User-Agent": f"llmcourse/{__version__}; hf_hub/{hub_version}"}
    return agent | {"Authorization": f"Bearer {token}"} if token else agent


def _read(response: httpx2.Response, bucket: Bucket, first_bytes: int | None) -> Answer:
    most = first_bytes or (_MAX_API_BYTES if bucket == "api" else _MAX_BYTES)
    body = bytearray()
    for block in response.iter_bytes():
        body += block
        if len(body) >= most:
            break  # a server that knows no ranges would send gigabytes
    headers = response.headers
    text = body[:most].decode("utf-8" if first_bytes is None else "latin-1", "replace")
    answer = Answer(
        response.status_code,
        text,
        headers.get("ETag", ""),
        response.links.get("next", {}).get("url") or "",
        headers.get("X-Error-Code", ""),
        headers.get("X-Error-Message", ""),
    )
    is_error = response.status_code >= 400
    return replace(answer, body="" if is_error else text)


def parsed(answer: Answer) -> Any:
    """The JSON of an answer, None where it is none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
