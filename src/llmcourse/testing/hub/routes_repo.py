"""Accounts and repositories: whoami, create, delete, settings, branches, tags, refs, access checks."""

import re
from typing import Any, cast

from llmcourse.testing.hub.accounts import Token
from llmcourse.testing.hub.protocol import HubError, Request, Response, json_response, repo_not_found
from llmcourse.testing.hub.repos import Gate, Kind, Repo
from llmcourse.testing.hub.routing import API_REPO, REVISION, route
from llmcourse.testing.hub.state import HubState

_KINDS: tuple[Kind, ...] = ("model", "dataset", "space")
_NAME = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9_][\w.-]{0,95}")
_GATES: tuple[Gate, ...] = ("auto", "manual", False)


def signed_in(request: Request) -> Token:
    """The request's token.

    Raises:
        HubError: 401, there is none.
    """
    if request.token is None:
        raise HubError(401, "Invalid username or password.")
    return request.token


def repo_url(state: HubState, repo: Repo) -> str:
    """The address of a repository's page."""
    prefix = "" if repo.settings.kind == "model" else f"{repo.settings.kind}s/"
    return f"{state.endpoint}/{prefix}{repo.id}"


@route("GET", r"/api/whoami-v2")
def whoami(state: HubState, request: Request) -> Response:
    return json_response(state.accounts.whoami(signed_in(request)))


@route("POST", r"/api/repos/create")
def create_repo(state: HubState, request: Request) -> Response:
    """409 for a taken name; its body has the URL, which `exist_ok=True` reads."""
    token, body = signed_in(request), request.json()
    namespace = body.get("organization") or token.user
    kind = body.get("type") or "model"
    if kind not in _KINDS or not _NAME.fullmatch(body["name"]):
        raise HubError(400, f"Invalid repository: {kind} {body['name']}")
    repo_id = f"{namespace}/{body['name']}"
    if not state.accounts.is_member(token.user, namespace) or not token.allows("repo.write", repo_id, kind):
        message = f'You don\'t have the rights to create a {kind} under the namespace "{namespace}".'
        raise HubError(403, message)
    is_private = bool(body.get("private")) or body.get("visibility") == "private"
    repo = state.repos.create(kind, repo_id, token.user, is_private)
    if repo is None:
        existing = state.readable(token, kind, repo_id)
        raise HubError(
            409, f"You already created this {kind} repo", url=repo_url(state, existing), name=repo_id
        )
    return json_response({"url": repo_url(state, repo), "name": repo_id, "id": repo.settings.uid})


@route("DELETE", r"/api/repos/delete")
def delete_repo(state: HubState, request: Request) -> Response:
    token, body = signed_in(request), request.json()
    kind = cast(Kind, body.get("type") or "model")
    repo_id = f"{body.get('organization') or token.user}/{body['name']}"
    state.repos.delete(state.writable(token, kind, repo_id))
    return json_response({})


@route("PUT", rf"{API_REPO}/settings")
def update_settings(state: HubState, request: Request, kind: Kind, repo_id: str) -> Response:
    repo, body = state.writable(request.token, kind, repo_id), request.json()
    if "gated" in body:
        if body["gated"] not in _GATES:
            raise HubError(400, '"gated" must be one of [auto, manual, false]')
        repo.settings.gated = body["gated"]
    if "visibility" in body or "private" in body:
        repo.settings.is_private = body.get("private", body.get("visibility") == "private")
    repo.save()
    return json_response({"private": repo.settings.is_private, "gated": repo.settings.gated})


@route("GET", rf"{API_REPO}/auth-check(?P<write>/write)?")
def auth_check(state: HubState, request: Request, kind: Kind, repo_id: str, write: str | None) -> Response:
    repo = state.readable(request.token, kind, repo_id)
    state.check_gate(request.token, repo)
    if write:
        state.writable(request.token, kind, repo_id)
    return json_response({})


@route("POST", rf"{API_REPO}/branch/(?P<name>[^/]+)")
def create_branch(state: HubState, request: Request, kind: Kind, repo_id: str, name: str) -> Response:
    repo = state.writable(request.token, kind, repo_id)
    start = state.commit_at(repo, request.json().get("startingPoint") or "main")
    return _add_ref(repo, repo.settings.branches, name, start.oid)


@route("POST", rf"{API_REPO}/tag{REVISION}")
def create_tag(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str) -> Response:
    repo = state.writable(request.token, kind, repo_id)
    target = state.commit_at(repo, revision)
    return _add_ref(repo, repo.settings.tags, str(request.json()["tag"]), target.oid)


def _add_ref(repo: Repo, refs: dict[str, str], name: str, oid: str) -> Response:
    with repo.lock:
        if name in repo.settings.branches or name in repo.settings.tags:
            raise HubError(409, f"Reference already exists: {name}")
        refs[name] = oid
        repo.save()
    return json_response({})


@route("DELETE", rf"{API_REPO}/(?P<what>branch|tag)/(?P<name>[^/]+)")
def delete_ref(state: HubState, request: Request, kind: Kind, repo_id: str, what: str, name: str) -> Response:
    repo = state.writable(request.token, kind, repo_id)
    refs = repo.settings.branches if what == "branch" else repo.settings.tags
    with repo.lock:
        if name not in refs:
            raise HubError(404, f"Reference not found: {name}", "RevisionNotFound")
        if what == "branch" and name == "main":
            raise HubError(403, "The default branch cannot be deleted")
        del refs[name]
        repo.save()
    return json_response({})


@route("GET", rf"{API_REPO}/refs")
def list_refs(state: HubState, request: Request, kind: Kind, repo_id: str) -> Response:
    settings = state.readable(request.token, kind, repo_id).settings
    body: dict[str, Any] = {
        "branches": _refs(settings.branches, "refs/heads/"),
        "tags": _refs(settings.tags, "refs/tags/"),
        "converts": [],
    }
    if request.flag("include_prs"):
        body["pullRequests"] = [
            {"name": ref.removeprefix("refs/"), "ref": ref, "targetCommit": oid}
            for ref, oid in settings.pull_requests.items()
        ]
    return json_response(body)


def _refs(refs: dict[str, str], prefix: str) -> list[dict[str, str]]:
    return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in refs.items()]


def moved(request: Request, repo: Repo) -> Response:
    """To the info of a repository that was asked for by an old name, or in another letter case."""
    query = f"?{request.query}" if request.query else ""
    return Response(307, headers={"Location": f"/api/{repo.settings.kind}s/{repo.id}{query}"})


@route("GET POST PUT DELETE", r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+)(?:/revision/[^/]+)?")
def legacy_repo(state: HubState, request: Request, kind: Kind, name: str) -> Response:
    """Names without a namespace (`gpt2`) belong to a few old repositories, which have moved since."""
    repo = state.readable(request.token, kind, name)
    if request.method != "GET":
        raise repo_not_found(request.token)
    return moved(request, repo)
