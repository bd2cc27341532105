"""Discussions and pull requests: just enough to open one, read it, and push to its ref."""

from typing import Any

from llmcourse.testing.hub.protocol import HubError, Request, Response, json_response
from llmcourse.testing.hub.repos import Kind, Repo, now_iso
from llmcourse.testing.hub.routing import API_REPO, route
from llmcourse.testing.hub.state import HubState


def open_discussion(repo: Repo, title: str, description: str, author: str, is_pull_request: bool) -> int:
    """Open a discussion and return its number; a pull request gets `refs/pr/N` at the head of main."""
    with repo.lock:
        num = len(repo.settings.discussions) + 1
        repo.settings.discussions.append(
            {
                "num": num,
                "title": title,
                "description": description,
                "author": author,
                "createdAt": now_iso(),
                "isPullRequest": is_pull_request,
            }
        )
        if is_pull_request:
            repo.settings.pull_requests[f"refs/pr/{num}"] = repo.head.oid
        repo.save()
    return num


@route("POST", rf"{API_REPO}/discussions")
def create(state: HubState, request: Request, kind: Kind, repo_id: str) -> Response:
    token = request.token
    if token is None or token.role == "read":
        raise HubError(403 if token else 401, "You don't have the rights to open a discussion.")
    repo, body = state.readable(token, kind, repo_id), request.json()
    num = open_discussion(
        repo, body["title"], body.get("description", ""), token.user, bool(body.get("pullRequest"))
    )
    return json_response(_summary(repo, num))


@route("GET", rf"{API_REPO}/discussions")
def listing(state: HubState, request: Request, kind: Kind, repo_id: str) -> Response:
    """All on one page, the newest first."""
    repo = state.readable(request.token, kind, repo_id)
    author, wanted = request.first("author"), request.first("type")
    found = [
        _summary(repo, item["num"]) | {"author": {"name": item["author"]}}
        for item in reversed(repo.settings.discussions)
        if author in (None, item["author"])
        and wanted in (None, "all", "pull_request" if item["isPullRequest"] else "discussion")
    ]
    return json_response({"discussions": found, "count": len(found), "start": 0})


@route("GET", rf"{API_REPO}/discussions/(?P<number>\d+)")
def details(state: HubState, request: Request, kind: Kind, repo_id: str, number: str) -> Response:
    repo = state.readable(request.token, kind, repo_id)
    if not 1 <= int(number) <= len(repo.settings.discussions):
        raise HubError(404, "Discussion not found")
    return json_response(_summary(repo, int(number)))


def _summary(repo: Repo, num: int) -> dict[str, Any]:
    item = repo.settings.discussions[num - 1]
    author = {"name": item["author"]}
    comment = {
        "id": f"{num:024x}",
        "type": "comment",
        "createdAt": item["createdAt"],
        "author": author,
        "data": {"edited": False, "hidden": False, "latest": {"raw": item["description"]}},
    }
    summary: dict[str, Any] = {
        **{key: item[key] for key in ("num", "title", "createdAt", "isPullRequest")},
        "author": author,
        "status": item.get("status") or ("draft" if item["isPullRequest"] else "open"),
        "repo": {"name": repo.id, "type": repo.settings.kind},
        "events": [comment],
    }
    if item["isPullRequest"]:
        summary |= {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "diff": ""}
    return summary
