"""Large files over git-lfs' HTTP API: batch, whole and multipart uploads, verification.

Source: git-lfs docs/api/batch.md; the multipart form is the Hub's own (`huggingface_hub/lfs.py` 2.4.0).
"""

import re
import shutil
from math import ceil
from pathlib import Path
from typing import Any, cast

from llmcourse.testing.hub.blobs import COPY_BYTES, ChecksumMismatch
from llmcourse.testing.hub.protocol import HubError, Request, Response, json_response
from llmcourse.testing.hub.repos import Kind
from llmcourse.testing.hub.routing import WEB_REPO, route
from llmcourse.testing.hub.state import HubState

_SHA256 = r"/(?P<sha256>[0-9a-f]{64})"
_MEDIA = {"Content-Type": "application/vnd.git-lfs+json"}


@route("POST", rf"{WEB_REPO}\.git/info/lfs/objects/batch")
def batch(state: HubState, request: Request, kind: Kind, repo_id: str) -> Response:
    """Say where each object goes; objects without `actions` are here already."""
    repo = state.readable(request.token, kind, repo_id)
    token = request.token
    if token is None or not token.allows("repo.write", repo.id, kind):
        raise HubError(403, f"You don't have the rights to write to {repo.id}")
    body = request.json()
    transfer = "basic"
    objects = []
    for item in body["objects"]:
        answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if not re.fullmatch("[0-9a-f]{64}", item["oid"]):
            answer["error"] = {"code": 422, "message": "Invalid oid"}
        elif not state.has_content(item["oid"]):
            answer["authenticated"] = True
            answer["actions"], is_multipart = _actions(state, item, body.get("transfers", []))
            transfer = "multipart" if is_multipart else transfer
        objects.append(answer)
    return json_response({"transfer": transfer, "objects": objects}, headers=_MEDIA)


def _actions(state: HubState, item: dict[str, Any], transfers: list[str]) -> tuple[dict[str, Any], bool]:
    oid, size, part = item["oid"], item["size"], state.lfs_part_bytes
    verify = {"href": f"{state.endpoint}/lfs/verify/{oid}"}
    if size <= part or "multipart" not in transfers:
        return {"upload": {"href": f"{state.endpoint}/lfs/object/{oid}"}, "verify": verify}, False
    urls = {f"{n:05d}": f"{state.endpoint}/lfs/part/{oid}/{n}" for n in range(1, ceil(size / part) + 1)}
    header = {"chunk_size": str(part), **urls}
    return {
        "upload": {"href": f"{state.endpoint}/lfs/complete/{oid}", "header": header},
        "verify": verify,
    }, True


@route("PUT", rf"/lfs/object{_SHA256}")
def upload_object(state: HubState, request: Request, sha256: str) -> Response:
    try:
        state.blobs.put_stream(request.body, sha256)
    except ChecksumMismatch as error:
        raise HubError(400, str(error)) from error
    return Response()


@route("PUT", rf"/lfs/part{_SHA256}/(?P<number>\d+)")
def upload_part(state: HubState, request: Request, sha256: str, number: str) -> Response:
    """Keep one part; it appears only once it is whole."""
    folder = state.blobs.parts_folder(sha256)
    temporary = state.blobs.temporary()
    try:
        with temporary.open("wb") as out:
            shutil.copyfileobj(request.body, out, COPY_BYTES)
        folder.mkdir(parents=True, exist_ok=True)
        temporary.replace(folder / number)
    finally:
        temporary.unlink(missing_ok=True)
    return Response(headers={"ETag": f'"{sha256[:16]}-{number}"'})


@route("POST", rf"/lfs/complete{_SHA256}")
def complete(state: HubState, request: Request, sha256: str) -> Response:
    """Join the parts in order and check the whole."""
    folder = state.blobs.parts_folder(sha256)
    numbers = [int(part["partNumber"]) for part in request.json()["parts"]]
    paths = [folder / str(number) for number in numbers]
    missing = [path.name for path in paths if not path.exists()]
    if missing or numbers != list(range(1, len(numbers) + 1)):
        raise HubError(400, f"Missing or unordered parts: {missing or numbers}")
    try:
        state.blobs.put_made(sha256, lambda target: _join(paths, target))
    except ChecksumMismatch as error:
        raise HubError(400, str(error)) from error
    shutil.rmtree(folder)
    return json_response({})


def _join(paths: list[Path], target: Path) -> None:
    with target.open("wb") as out:
        for path in paths:
            with path.open("rb") as source:
                shutil.copyfileobj(source, out, COPY_BYTES)


@route("POST", rf"/lfs/verify{_SHA256}")
def verify(state: HubState, request: Request, sha256: str) -> Response:
    body = request.json()
    if not state.has_content(sha256):
        raise HubError(404, "Object not found")
    size = cast(int, body["size"])
    if state.blobs.has(sha256) and state.blobs.path(sha256).stat().st_size != size:
        raise HubError(422, "The object has another size")
    return json_response({})
