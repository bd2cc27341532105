"""Writing: card validation, preupload and commits (to a branch, to a pull request, or opening one)."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llmcourse.testing.hub.accounts import Token
from llmcourse.testing.hub.cards import InvalidCard, validate_card
from llmcourse.testing.hub.discussions import open_discussion
from llmcourse.testing.hub.gitattributes import is_large, lfs_patterns
from llmcourse.testing.hub.protocol import HubError, Request, Response, json_response
from llmcourse.testing.hub.repos import FileEntry, Kind, Repo, lfs_entry, regular_entry
from llmcourse.testing.hub.routes_repo import repo_url, signed_in
from llmcourse.testing.hub.routing import API_REPO, REVISION, route
from llmcourse.testing.hub.state import HubState


@route("POST", r"/api/validate-yaml")
def validate_yaml(state: HubState, request: Request) -> Response:
    """The check that the client runs before it uploads a README.md."""
    asked = request.json()
    try:
        warnings = validate_card(str(asked["content"]), asked.get("repoType") or "model")
    except InvalidCard as invalid:
        return json_response({"errors": [{"message": text} for text in invalid.errors], "warnings": []}, 400)
    return json_response({"errors": [], "warnings": [{"message": text} for text in warnings]})


@route("POST", rf"{API_REPO}/preupload{REVISION}")
def preupload(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Response:
    """Decide file by file between LFS and regular, and name what is stored so that it is not sent again."""
    repo = _committable(state, request, kind, repo_id, revision)
    commit = state.commit_at(repo, revision)
    patterns = lfs_patterns(state.text(commit, ".gitattributes"))
    answers = []
    for file in request.json()["files"]:
        large = is_large(file["path"], file["size"], patterns)
        entry = commit.tree.get(file["path"])
        known = None if entry is None or entry.is_lfs != large else entry.sha256 if large else entry.oid
        mode = "lfs" if large else "regular"
        answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known})
    return json_response({"files": answers, "commitOid": commit.oid})


def _committable(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Repo:
    """Anyone with a write token may open a pull request and push to their own; the rest needs the repo."""
    token = signed_in(request)
    repo = state.readable(token, kind, repo_id)
    if state.can_write(token, repo):
        return repo
    opens_pr = request.flag("create_pr")
    owns_pr = any(
        revision == f"refs/pr/{item['num']}" and item["author"] == token.user and item["isPullRequest"]
        for item in repo.settings.discussions
    )
    if token.role == "write" and (opens_pr or owns_pr):
        return repo
    raise HubError(403, f"You don't have the rights to write to {repo.id}")


@dataclass
class _Payload:
    """A parsed commit: its header and what it does to the tree."""

    title: str = ""
    description: str = ""
    parent: str | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    deletions: list[tuple[str, str]] = field(default_factory=list)


@route("POST", rf"{API_REPO}/commit{REVISION}")
def commit(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Response:
    token = signed_in(request)
    repo = _committable(state, request, kind, repo_id, revision)
    payload = _read_payload(state, request, kind)
    with repo.lock:
        parent = state.commit_at(repo, revision)
        if payload.parent is not None and payload.parent != parent.oid:
            message = "A commit has happened since. Please refresh and try again."
            raise HubError(412, message)
        tree = _apply(payload, dict(parent.tree))
        pull_request = _open_pull_request(state, request, repo, payload, token)
        ref = pull_request or _writable_ref(repo, revision)
        made = repo.add_commit(ref, tree, payload.title, payload.description, token.user)
    body: dict[str, Any] = {
        "success": True,
        "commitOid": made.oid,
        "commitUrl": f"{repo_url(state, repo)}/commit/{made.oid}",
        "hookOutput": "",
    }
    if pull_request is not None:
        body["pullRequestUrl"] = (
            f"{repo_url(state, repo)}/discussions/{pull_request.removeprefix('refs/pr/')}"
        )
    return json_response(body)


def _writable_ref(repo: Repo, revision: str) -> str:
    name = revision.removeprefix("refs/heads/")
    if name not in repo.settings.branches and name not in repo.settings.pull_requests:
        raise HubError(400, f"Not a branch: {revision}")
    return name


def _open_pull_request(
    state: HubState, request: Request, repo: Repo, payload: _Payload, token: Token
) -> str | None:
    if not request.flag("create_pr"):
        return None
    return f"refs/pr/{open_discussion(repo, payload.title, payload.description, token.user, True)}"


def _read_payload(state: HubState, request: Request, kind: Kind) -> _Payload:
    """Read the ndjson lines one by one: a commit may hold 100 MB of regular files."""
    payload = _Payload()
    for key, value in _lines(request):
        match key:
            case "header":
                payload.title, payload.description = value["summary"], value.get("description", "")
                payload.parent = value.get("parentCommit")
            case "file":
                payload.files[value["path"]] = _regular_file(state, value, kind)
            case "lfsFile":
                payload.files[value["path"]] = _large_file(state, value)
            case "deletedFile" | "deletedFolder":
                payload.deletions.append((key, value["path"]))
            case _:
                raise HubError(400, f"Unknown commit line: {key}")
    if not payload.title:
        raise HubError(400, '"summary" is required')
    return payload


def _lines(request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in request.body:
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise HubError(400, f"Invalid commit line: {error}") from error
        yield item["key"], item["value"]


def _regular_file(state: HubState, value: dict[str, Any], kind: Kind) -> FileEntry:
    content: str = value["content"]
    data = base64.b64decode(content) if value.get("encoding") == "base64" else content.encode()
    if value["path"] == "README.md":
        try:
            validate_card(data.decode("utf-8", errors="replace"), kind)
        except InvalidCard as invalid:
            message = "Invalid metadata in README.md: " + "; ".join(invalid.errors)
            raise HubError(400, message) from invalid
    return regular_entry(state.blobs, data)


def _large_file(state: HubState, value: dict[str, Any]) -> FileEntry:
    oid, size = value["oid"], value.get("size")
    if not state.has_content(oid):
        raise HubError(400, f"The LFS object of {value['path']} was never uploaded: {oid}")
    file = state.xet_store.file_of(oid)
    stored = file.size if file else state.blobs.path(oid).stat().st_size
    if size is not None and size != stored:
        raise HubError(400, f"The LFS object of {value['path']} has {stored} bytes, not {size}")
    return lfs_entry(oid, stored)


def _apply(payload: _Payload, tree: dict[str, FileEntry]) -> dict[str, FileEntry]:
    for kind, path in payload.deletions:
        prefix = path.rstrip("/") + "/"
        doomed = [
            name for name in tree if (name == path if kind == "deletedFile" else name.startswith(prefix))
        ]
        if not doomed:
            raise HubError(404, f"Entry not found: {path}", "EntryNotFound")
        for name in doomed:
            del tree[name]
    return {**tree, **payload.files}
