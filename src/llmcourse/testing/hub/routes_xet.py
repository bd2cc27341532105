"""The Xet side: access tokens from the Hub, and the CAS with xorbs, shards and reconstructions.

Only version 1 of the CAS API: the client asks for version 2 first and falls back on 404.
"""

import hashlib
import hmac
import secrets
import time
from typing import Any

from llmcourse.testing.hub.protocol import HubError, Request, Response, file_response, json_response
from llmcourse.testing.hub.repos import Kind
from llmcourse.testing.hub.routing import API_REPO, REVISION, route
from llmcourse.testing.hub.state import HubState
from llmcourse.testing.hub.xet_store import reconstruction

_CAS = r"/(?P<cas>cas|internal-cas)"
_THROW_AWAY = "/internal-cas/v1"
_HASH = r"/(?P<xet_hash>[0-9a-f]{64})"


@route("GET", rf"{API_REPO}/xet-(?P<scope>read|write)-token{REVISION}")
def give_token(
    state: HubState, request: Request, kind: Kind, repo_id: str, scope: str, revision: str
) -> Response:
    """Both the body (read by hf_xet) and the headers (read by huggingface_hub) carry the token."""
    if not state.xet:
        raise HubError(404, "Xet is not enabled")
    repo = state.readable(request.token, kind, repo_id)
    if scope == "read":
        state.check_gate(request.token, repo)
    elif request.token is None or not request.token.allows("repo.write", repo.id, kind):
        raise HubError(403, f"You don't have the rights to write to {repo.id}")
    elif revision != "None" and not revision.startswith("refs/pr/"):
        state.writable(request.token, kind, repo_id)
    expires = int(time.time()) + state.xet_token_ttl_s
    user = request.token.name if request.token else "anonymous"
    secret = xet_token(state, scope, expires, user, secrets.token_hex(4))
    cas_url = f"{state.endpoint}/cas"
    headers = {
        "X-Xet-Cas-Url": cas_url,
        "X-Xet-Access-Token": secret,
        "X-Xet-Token-Expiration": str(expires),
    }
    return json_response({"accessToken": secret, "exp": expires, "casUrl": cas_url}, headers=headers)


def xet_token(state: HubState, scope: str, expires: int, name: str, nonce: str) -> str:
    """A token that proves itself, so that a restart does not end a running transfer.

    It starts with the name of the access token it was given for, which the log shows; the nonce tells
    one client's run from the next.
    """
    text = f"{name}.{scope}.{expires}.{nonce}"
    key = state.accounts.secrets()["alice"].encode()
    return f"{text}.{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


def _check_token(state: HubState, request: Request, *scopes: str) -> str:
    """Check the Xet token and return its nonce, which names the client's run."""
    secret = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
    parts = secret.rsplit(".", 4)
    if len(parts) != 5 or not parts[2].isdigit():
        raise HubError(401, "Invalid Xet token")
    name, scope, expires, nonce, _ = parts
    if not hmac.compare_digest(secret, xet_token(state, scope, int(expires), name, nonce)):
        raise HubError(401, "Invalid Xet token")
    if int(expires) < time.time():
        raise HubError(401, "Expired Xet token")
    if scope not in scopes:
        raise HubError(403, f"A Xet {scope} token cannot do this")
    return nonce


@route("GET", rf"/cas/v1/chunks/[^/]+{_HASH}")
def query_chunk(state: HubState, request: Request, xet_hash: str) -> Response:
    """Global deduplication: what a client need not send again, also after it was killed."""
    run = _check_token(state, request, "write", "read")
    answer = state.xet_store.dedup_answer(xet_hash)
    if answer is None and state.xet_store.orphans(asked_by=run):
        state.xet_orphans.index_all(asked_by=run)
        answer = state.xet_store.dedup_answer(xet_hash)
    if answer is None:
        raise HubError(404, "Unknown chunk")
    return Response(200, answer, {"Content-Type": "application/octet-stream"})


@route("POST", rf"/cas/v1/xorbs/[^/]+{_HASH}")
def upload_xorb(state: HubState, request: Request, xet_hash: str) -> Response:
    run = _check_token(state, request, "write")
    return json_response({"was_inserted": state.xet_store.put_xorb(xet_hash, request.body, run)})


@route("POST", r"/cas/v1/shards")
def upload_shard(state: HubState, request: Request) -> Response:
    _check_token(state, request, "write")
    try:
        state.xet_store.put_shard(request.body.read())
    except ValueError as error:
        raise HubError(400, f"Bad shard: {error}") from error
    return json_response({"result": 1})


@route("POST", rf"{_THROW_AWAY}/xorbs/[^/]+{_HASH}")
def drop_xorb(state: HubState, request: Request, xet_hash: str) -> Response:
    return json_response({"was_inserted": True})


@route("POST", rf"{_THROW_AWAY}/shards")
def note_shard(state: HubState, request: Request) -> Response:
    state.xet_orphans.take_shard(request.body.read())
    return json_response({"result": 1})


@route("GET", rf"{_CAS}/v1/reconstructions{_HASH}")
def reconstruct(state: HubState, request: Request, cas: str, xet_hash: str) -> Response:
    _check_token(state, request, "read", "write")
    file = state.xet_store.file(xet_hash)
    if file is None:
        raise HubError(404, "Unknown file")
    start, end = _byte_range(request.headers.get("Range"), file.size)
    if start >= end and file.size:
        raise HubError(416, "The range lies beyond the end of the file")
    data_url = f"{state.endpoint}/{cas}/xorb-data"
    body: dict[str, Any] = reconstruction(state.xet_store, file, start, end, data_url)
    return json_response(body)


@route("GET", rf"{_CAS}/xorb-data{_HASH}")
def download_xorb(state: HubState, request: Request, cas: str, xet_hash: str) -> Response:
    """What the real CAS gives a presigned storage URL for, hence without a token."""
    path = state.xet_store.xorb_path(xet_hash)
    if not path.exists():
        raise HubError(404, "Unknown xorb")
    response = file_response(path, path.stat().st_size, {}, request.headers.get("Range"))
    response.weight_offset = 0
    return response


@route("POST", r"/v1/telemetry")
def take_telemetry(state: HubState, request: Request) -> Response:
    return json_response({})


def _byte_range(header: str | None, size: int) -> tuple[int, int]:
    if not header:
        return 0, size
    first, last = header.removeprefix("bytes=").split("-")
    return int(first), min(int(last) + 1, size) if last else size
