"""A loopback GitHub, as far as gists go: users, kinds of tokens, pages, and faults on demand.

It answers as api.github.com does where a client depends on it: a token without the scope finds nothing
(404), the visibility of a gist cannot be changed, listings are in pages, and `public` is a boolean or the
word for one, as the real one takes both.
"""

import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from llmcourse.testing.hub.faults import Fault, FaultRules
from llmcourse.testing.loopback import Loopback, LoopbackServer

_GIST = re.compile(r"/gists/([0-9a-f]+)")


@dataclass(frozen=True)
class Token:
    """`scopes` of a classic token; None for a fine-grained one, which shows none and `may_write` or not.

    That of an action belongs to no user.
    """

    user: str
    scopes: tuple[str, ...] | None = ("gist",)
    may_write: bool = True
    is_expired: bool = False
    is_action: bool = False


@dataclass
class Gist:
    """A gist with the content of each of its files; `revisions` counts what changed it."""

    id: str
    owner: str
    public: bool
    description: str
    files: dict[str, str]
    url: str
    updated_at: str = ""
    revisions: int = 1

    def as_json(self, with_content: bool) -> dict[str, Any]:
        """As a listing has it, or with the files' content as the gist's own address has it."""
        files = {
            name: {"filename": name, "size": len(text), "truncated": False}
            | ({"content": text} if with_content else {})
            for name, text in self.files.items()
        }
        return {
            "id": self.id,
            "url": self.url,
            "html_url": f"https://gist.github.com/{self.owner}/{self.id}",
            "public": self.public,
            "description": self.description,
            "files": files,
            "updated_at": self.updated_at,
            "owner": {"login": self.owner},
        }


@dataclass
class LoopbackGitHub(Loopback):
    """GitHub's REST API at `api_url`, with one user and a token of each kind in `tokens`."""

    page_size: int = 30
    gists: dict[str, Gist] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    tokens: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        kinds = {
            "alice": Token("alice"),
            "bob": Token("bob"),
            "scopeless": Token("alice", ("repo",)),
            "fine": Token("alice", None),
            "fine-readonly": Token("alice", None, may_write=False),
            "expired": Token("alice", is_expired=True),
            "action": Token("alice", None, may_write=False, is_action=True),
        }
        self.tokens = {name: f"ghp_{name}{secrets.token_hex(12)}" for name in kinds}
        self._known = {self.tokens[name]: token for name, token in kinds.items()}
        self._rules = FaultRules()
        self._rules.rules = self.faults
        self.lock = threading.Lock()

    def _listen(self) -> LoopbackServer:
        this = self

        class Handler(_Handler):
            github = this

        return LoopbackServer(("127.0.0.1", 0), Handler)

    @property
    def api_url(self) -> str:
        return self.address

    def env(self, token: str | None = "alice") -> dict[str, str]:
        """Variables that point a client at this GitHub, as an action's runner sets them."""
        named = {"GITHUB_TOKEN": self.tokens[token]} if token else {}
        return {"GITHUB_API_URL": self.api_url, "NO_PROXY": "127.0.0.1", **named}

    def add_gist(self, owner: str, public: bool, files: Mapping[str, str], description: str = "") -> Gist:
        """Put a gist there without HTTP."""
        key = secrets.token_hex(16)
        gist = Gist(key, owner, public, description, dict(files), f"{self.api_url}/gists/{key}", _now())
        self.gists[key] = gist
        return gist

    def token(self, secret: str) -> Token | None:
        return self._known.get(secret)

    def fault(self, method: str, path: str) -> Fault | None:
        return self._rules.take(method, path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    github: LoopbackGitHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the names that http.server looks for
        self._answer()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        self.github.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.github.fault(self.command, self.path)
        if fault is not None and not fault.apply_then_drop:
            if fault.status is None:
                self.close_connection = True
                return
            self._send(fault.status, {"message": fault.body or "Fault"}, dict(fault.headers))
            return
        try:
            with self.github.lock:
                status, answer, headers = self._route(body)
        except _Refusal as refusal:
            status, answer, headers = refusal.status, {"message": str(refusal)}, {}
        if fault is not None:
            self.close_connection = True
            return
        self._send(status, answer, headers)

    def _send(self, status: int, answer: Any, headers: Mapping[str, str]) -> None:
        data = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _route(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        token = self._token()
        scopes = {"X-OAuth-Scopes": ", ".join(token.scopes)} if token.scopes is not None else {}
        path = urlsplit(self.path).path
        if (self.command, path) == ("GET", "/user"):
            if token.is_action:
                raise _Refusal(403, "Resource not accessible by integration")
            return 200, {"login": token.user}, scopes
        if (self.command, path) == ("GET", "/gists"):
            return self._listing(token)
        if self.command != "GET":
            self._refuse_writing(token)
        if (self.command, path) == ("POST", "/gists"):
            return self._create(token, json.loads(body))
        match = _GIST.fullmatch(path)
        gist = self.github.gists.get(match[1]) if match else None
        if gist is None:
            raise _Refusal(404, "Not Found")
        return self._single(token, gist, body)

    def _token(self) -> Token:
        token = self.github.token((self.headers.get("Authorization") or "").rpartition(" ")[2])
        if token is None or token.is_expired:
            raise _Refusal(401, "Bad credentials")
        return token

    def _refuse_writing(self, token: Token) -> None:
        if token.scopes is not None and "gist" not in token.scopes:
            raise _Refusal(404, "Not Found")
        if not token.may_write:
            kind = "integration" if token.is_action else "personal access token"
            raise _Refusal(403, f"Resource not accessible by {kind}")

    def _listing(self, token: Token) -> tuple[int, Any, dict[str, str]]:
        """The user's own, the last changed first."""
        asked = parse_qs(urlsplit(self.path).query)
        size = min(int(asked.get("per_page", ["30"])[0]), self.github.page_size)
        page = int(asked.get("page", ["1"])[0])
        own = sorted(self.github.gists.values(), key=lambda gist: gist.updated_at, reverse=True)
        own = [gist for gist in own if gist.owner == token.user]
        part = own[(page - 1) * size : page * size]
        following = f"{self.github.api_url}/gists?per_page={size}&page={page + 1}"
        links = {"Link": f'<{following}>; rel="next"'} if page * size < len(own) else {}
        return 200, [gist.as_json(with_content=False) for gist in part], links

    def _create(self, token: Token, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        files = {name: file.get("content") for name, file in (asked.get("files") or {}).items()}
        if not files or not all(files.values()) or asked.get("public", False) not in _BOOLEANS:
            raise _Refusal(422, "Validation Failed")
        public = asked.get("public", False) in (True, "true")
        gist = self.github.add_gist(token.user, public, files, asked.get("description") or "")
        return 201, gist.as_json(with_content=True), {}

    def _single(self, token: Token, gist: Gist, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if self.command != "GET" and gist.owner != token.user:
            raise _Refusal(404, "Not Found")
        if self.command == "DELETE":
            del self.github.gists[gist.id]
            return 204, None, {}
        if self.command == "PATCH":  # a "public" in it is ignored, as by the real one
            asked = json.loads(body)
            gist.files |= {name: file["content"] for name, file in asked.get("files", {}).items()}
            gist.description = asked.get("description", gist.description)
            gist.updated_at, gist.revisions = _now(), gist.revisions + 1
        return 200, gist.as_json(with_content=True), {}

    def log_message(self, format: str, *args: object) -> None:
        """Silence: `requests` is the record."""


_BOOLEANS = (True, False, "true", "false")
