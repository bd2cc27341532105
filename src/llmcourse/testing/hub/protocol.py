"""Requests, responses and errors in the Hub's terms, so that the routes hold no HTTP plumbing.

The error shapes follow what `huggingface_hub` 2.4.0 reads: over plain http it tells a missing
repository from other errors only by `X-Error-Code` (`utils/_http.py`, `REPO_API_REGEX`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from llmcourse.testing.hub.accounts import Token

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class HubError(Exception):
    """An answer other than success. `code` becomes `X-Error-Code`, `message` `X-Error-Message`."""

    def __init__(self, status: int, message: str, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers: dict[str, str] = {}
        self.extra = extra


def repo_not_found(token: Token | None) -> HubError:
    """The same answer for "missing" and "not yours", as on the Hub: names of private repos stay secret."""
    if token is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")


@dataclass(frozen=True)
class FileSlice:
    """A part of a file on disk, sent without loading it."""

    path: Path
    start: int
    length: int


@dataclass
class Response:
    """An answer. `weight_offset`: byte of the whole file where model weights start (None: no weights)."""

    status: int = 200
    body: bytes | FileSlice = b""
    headers: dict[str, str] = field(default_factory=dict)
    weight_offset: int | None = None

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)

    def weight_bytes(self, sent: int) -> int:
        """Of the first `sent` body bytes, how many lie in the weights."""
        if self.weight_offset is None or not isinstance(self.body, FileSlice):
            return 0
        return max(0, self.body.start + sent - max(self.body.start, self.weight_offset))


@dataclass
class Request:
    """A parsed request; `path` is still quoted, so that a quoted slash stays inside its segment."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: BinaryIO
    token: Token | None = None

    def json(self) -> dict[str, Any]:
        """The body as a JSON object (an empty body is an empty object)."""
        raw = self.body.read()
        try:
            value = json.loads(raw or b"{}")
        except ValueError as error:
            raise HubError(400, f"Invalid JSON body: {error}") from error
        if not isinstance(value, dict):
            raise HubError(400, "The body must be a JSON object")
        return value

    def all(self, name: str) -> list[str]:
        """All values of a query parameter; the Hub takes `expand` and `expand[]` alike."""
        values = parse_qs(self.query, keep_blank_values=True)
        return values.get(name, []) + values.get(f"{name}[]", [])

    def first(self, name: str) -> str | None:
        """The first non-empty value of a query parameter."""
        return next((value for value in self.all(name) if value), None)

    def flag(self, name: str) -> bool:
        """Whether a boolean query parameter is set (the client writes `true`, `True` or `1`)."""
        return (self.first(name) or "").lower() in ("true", "1")


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Encode a JSON answer."""
    return Response(
        status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}
    )


def conditional(request: Request, response: Response) -> Response:
    """An answer of the API with its weak ETag, or 304 to a client that has the same already."""
    is_described = response.headers.get("Content-Type") == "application/json" and response.status == 200
    if request.method != "GET" or not is_described or not isinstance(response.body, bytes):
        return response
    etag = f'W/"{hashlib.sha1(response.body, usedforsecurity=False).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        kept = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        return Response(304, b"", {**kept, "ETag": etag})
    response.headers["ETag"] = etag
    return response


def error_response(error: HubError) -> Response:
    """Encode an error the way the client parses it."""
    headers = {**error.headers, "X-Error-Message": error.message.splitlines()[0]}
    if error.code is not None:
        headers["X-Error-Code"] = error.code
    return json_response({"error": error.message, **error.extra}, error.status, headers)


def file_response(path: Path, size: int, headers: Mapping[str, str], range_header: str | None) -> Response:
    """A file, or the one byte range that was asked for (206; 416 beyond the end).

    The file is opened only when the body is sent, so for HEAD it need not exist.
    """
    base = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    match = _RANGE.fullmatch(range_header or "")
    if match is None or match.group(0) == "bytes=-":
        return Response(200, FileSlice(path, 0, size), base)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start > end:
        return Response(416, b"", {**base, "Content-Range": f"bytes */{size}"})
    content_range = f"bytes {start}-{end}/{size}"
    return Response(206, FileSlice(path, start, end - start + 1), {**base, "Content-Range": content_range})
