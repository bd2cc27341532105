"""Reading repositories: trees, paths, history, and file contents with ranges."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from llmcourse.testing.hub.blobs import lfs_pointer
from llmcourse.testing.hub.protocol import HubError, Request, Response, file_response, json_response
from llmcourse.testing.hub.repos import Commit, FileEntry, Kind, Repo
from llmcourse.testing.hub.routing import API_REPO, REVISION, WEB_REPO, route
from llmcourse.testing.hub.state import HubState

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")


def paged(state: HubState, request: Request, items: list[Any], size: int | None = None) -> Response:
    """One page of a listing; `Link: rel="next"` leads to the next, as the client's `paginate` follows it."""
    size = size or state.page_size
    start = int(request.first("cursor") or 0)
    headers = {}
    if start + size < len(items):
        query = {**parse_qs(request.query, keep_blank_values=True), "cursor": [str(start + size)]}
        link = f"{state.endpoint}{request.path}?{urlencode(query, doseq=True)}"
        headers["Link"] = f'<{link}>; rel="next"'
    return json_response(items[start : start + size], headers=headers)


@route("GET", rf"{API_REPO}/tree{REVISION}(?:/(?P<path>.+))?")
def list_tree(
    state: HubState, request: Request, kind: Kind, repo_id: str, revision: str, path: str | None
) -> Response:
    repo = state.readable(request.token, kind, repo_id)
    commit = state.commit_at(repo, revision)
    prefix = f"{path.strip('/')}/" if path else ""
    if prefix and not any(name.startswith(prefix) for name in commit.tree):
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    names = sorted(_children(commit, prefix, request.flag("recursive")))
    expand = request.flag("expand")
    return paged(state, request, [_item(state, repo, commit, name, expand) for name in names])


def _children(commit: Commit, prefix: str, recursive: bool) -> set[str]:
    found: set[str] = set()
    for name in commit.tree:
        if not name.startswith(prefix):
            continue
        parts = name.removeprefix(prefix).split("/")
        depths = range(1, len(parts) + 1) if recursive else (1,)
        found.update(prefix + "/".join(parts[:depth]) for depth in depths)
    return found


@route("POST", rf"{API_REPO}/paths-info{REVISION}")
def paths_info(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Response:
    """The same items as a tree has, for given paths; unknown ones are left out."""
    repo = state.readable(request.token, kind, repo_id)
    commit = state.commit_at(repo, revision)
    form = parse_qs(request.body.read().decode())
    expand = form.get("expand", [""])[0].lower() == "true"
    known = _children(commit, "", recursive=True)
    paths = [path.strip("/") for path in form.get("paths", [])]
    return json_response([_item(state, repo, commit, path, expand) for path in paths if path in known])


def _item(state: HubState, repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    entry = commit.tree.get(path)
    if entry is None:
        inside = [child.oid for name, child in commit.tree.items() if name.startswith(f"{path}/")]
        item: dict[str, Any] = {"type": "directory", "path": path, "oid": inside[0], "size": 0}
    else:
        item = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid, **_lfs(state, entry)}
        if expand:
            item["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    if expand:
        last = _last_change(repo, commit, path)
        item["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return item


def _lfs(state: HubState, entry: FileEntry) -> dict[str, Any]:
    if not entry.is_lfs:
        return {}
    pointer_size = len(lfs_pointer(entry.sha256, entry.size))
    fields: dict[str, Any] = {"lfs": {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer_size}}
    xet_hash = state.xet_hash(entry)
    return fields | ({"xetHash": xet_hash} if xet_hash else {})


def _last_change(repo: Repo, commit: Commit, path: str) -> Commit:
    def content(of: Commit) -> dict[str, FileEntry]:
        return {name: file for name, file in of.tree.items() if name == path or name.startswith(f"{path}/")}

    last = commit
    for older in islice(repo.history(commit.oid), 1, None):
        if content(older) != content(commit):
            return last
        last = older
    return last


@route("GET", rf"{API_REPO}/commits{REVISION}")
def list_commits(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Response:
    repo = state.readable(request.token, kind, repo_id)
    head = state.commit_at(repo, revision)
    return paged(state, request, list(_commits(repo, head)))


def _commits(repo: Repo, head: Commit) -> Iterator[dict[str, Any]]:
    for commit in repo.history(head.oid):
        yield {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": commit.date,
        }


@route("GET HEAD", rf"{WEB_REPO}/resolve{REVISION}/(?P<path>.+)")
def resolve(
    state: HubState, request: Request, kind: Kind, repo_id: str, revision: str, path: str
) -> Response:
    """A file's content. Large ones come from here as well, where the Hub redirects to its CDN."""
    repo = state.readable(request.token, kind, repo_id)
    state.check_gate(request.token, repo)
    commit = state.commit_at(repo, revision)
    entry = commit.tree.get(path)
    if entry is None:
        error = HubError(404, "Entry not found", "EntryNotFound")
        error.headers["X-Repo-Commit"] = commit.oid
        raise error
    etag = entry.sha256 if entry.is_lfs else entry.oid
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{etag}"'}
    if entry.is_lfs:
        headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(entry.size)}
    xet_hash = state.xet_hash(entry)
    if xet_hash is not None:
        prefix = f"{state.endpoint}/api/{kind}s/{quote(repo.id)}"
        headers["X-Xet-Hash"] = xet_hash
        headers["Link"] = f'<{prefix}/xet-read-token/{commit.oid}>; rel="xet-auth"'
    range_header = request.headers.get("Range")
    if request.method == "HEAD":
        return file_response(state.blobs.path(entry.sha256), entry.size, headers, range_header)
    content = state.content_path(entry.sha256)
    response = file_response(content, entry.size, headers, range_header)
    if path.endswith(_WEIGHT_SUFFIXES):
        response.weight_offset = _weight_offset(content) if path.endswith(".safetensors") else 0
    return response


def _weight_offset(content: Path) -> int:
    """Where a safetensors file's tensors start: after the header's length and the header."""
    with content.open("rb") as source:
        return 8 + int.from_bytes(source.read(8), "little")
