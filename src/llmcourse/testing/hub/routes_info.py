"""Model info and lists of models: all fields, or only those that `expand` asks for."""

from collections.abc import Callable
from functools import partial
from typing import Any

from llmcourse.testing.hub import info
from llmcourse.testing.hub.protocol import HubError, Request, Response, json_response
from llmcourse.testing.hub.repos import Kind, Repo
from llmcourse.testing.hub.routes_read import paged
from llmcourse.testing.hub.routes_repo import moved
from llmcourse.testing.hub.routing import API_REPO, route
from llmcourse.testing.hub.state import HubState

Field = Callable[[HubState, info.Facts], Any]

_FIELDS: dict[str, Field] = {
    "author": lambda state, known: known.repo.id.split("/")[0],
    "baseModels": info.base_models,
    "cardData": lambda state, known: known.card or None,
    "childrenModelCount": lambda state, known: info.children_count(state, known.repo),
    "config": lambda state, known: _config(known),
    "createdAt": lambda state, known: known.repo.settings.created_at,
    "disabled": lambda state, known: known.repo.settings.is_disabled,
    "downloads": lambda state, known: known.repo.settings.downloads,
    "downloadsAllTime": lambda state, known: 0,
    "gated": lambda state, known: known.repo.settings.gated,
    "gguf": lambda state, known: known.repo.settings.gguf,
    "inference": lambda state, known: None,
    "lastModified": lambda state, known: known.repo.last_modified,
    "library_name": lambda state, known: known.library,
    "likes": lambda state, known: known.repo.settings.likes,
    "pipeline_tag": lambda state, known: known.pipeline,
    "private": lambda state, known: known.repo.settings.is_private,
    "safetensors": lambda state, known: info.safetensors_summary(state, known.commit),
    "sha": lambda state, known: known.commit.oid,
    "siblings": lambda state, known: info.siblings(known, with_blobs=False),
    "spaces": lambda state, known: [],
    "tags": lambda state, known: known.tags,
    "trendingScore": lambda state, known: 0,
    "usedStorage": lambda state, known: info.used_storage(known.repo),
}
# The Hub takes these names too; here they are always empty.
_EMPTY_FIELDS = (
    *("evalResults", "inferenceProviderMapping", "mask_token", "model-index"),
    *("resourceGroup", "transformersInfo", "widgetData"),
)
_FIELDS |= dict.fromkeys(_EMPTY_FIELDS, lambda state, known: None)
# One of these in the `expand` of a list makes the Hub refuse the whole request.
_DETAIL_ONLY = frozenset({"baseModels", "childrenModelCount", "usedStorage"})
_ASKED_FOR_ONLY = (
    *("baseModels", "childrenModelCount", "downloadsAllTime", "gguf", "trendingScore"),
    *_EMPTY_FIELDS,
)
_INFO_FIELDS = tuple(name for name in _FIELDS if name not in _ASKED_FOR_ONLY)
_LIST_FIELDS = (
    "createdAt",
    "downloads",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "tags",
    "trendingScore",
)
_FULL_LIST_FIELDS = (*_LIST_FIELDS, "author", "gated", "lastModified", "sha", "siblings")
_SORT_FIELDS = {
    "created_at": "createdAt",
    "createdAt": "createdAt",
    "last_modified": "lastModified",
    "lastModified": "lastModified",
    "likes": "likes",
    "downloads": "downloads",
    "trending_score": "trendingScore",
    "trendingScore": "trendingScore",
}


def _config(known: info.Facts) -> dict[str, Any] | None:
    kept = ("architectures", "model_type", "quantization_config", "tokenizer_config")
    return {name: known.config[name] for name in kept if name in known.config} or None


def _describe(state: HubState, known: info.Facts, fields: tuple[str, ...]) -> dict[str, Any]:
    repo = known.repo
    id_field = "modelId" if repo.settings.kind == "model" else "_name"
    identity = {"_id": repo.settings.uid, "id": repo.id, id_field: repo.id}
    return identity | {name: _FIELDS[name](state, known) for name in fields}


def _expanded(request: Request, refused: frozenset[str] = frozenset()) -> tuple[str, ...]:
    asked = tuple(request.all("expand"))
    for name in asked:
        if name not in _FIELDS or name in refused:
            raise HubError(400, f'"expand" must be one of [{", ".join(sorted(_FIELDS.keys() - refused))}]')
    return asked


@route("GET", rf"{API_REPO}(?:/revision/(?P<revision>[^/]+))?")
def repo_info(state: HubState, request: Request, kind: Kind, repo_id: str, revision: str | None) -> Response:
    """Gated repositories show their info to everyone; a name in the wrong case is redirected."""
    repo = state.readable(request.token, kind, repo_id)
    if repo.id != repo_id:
        return moved(request, repo)
    known = info.facts(state, repo, state.commit_at(repo, revision or "main"))
    asked = _expanded(request)
    body = _describe(state, known, asked or _INFO_FIELDS)
    if request.flag("blobs"):
        body["siblings"] = info.siblings(known, with_blobs=True)
    if request.flag("securityStatus"):
        body["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return json_response(body)


@route("GET", r"/api/(?P<kind>models|datasets|spaces)")
def list_repos(state: HubState, request: Request, kind: Kind) -> Response:
    """Filters must all hold and compare exactly, as on the Hub, where a wrong case finds nothing."""
    asked = _expanded(request, refused=_DETAIL_ONLY)
    fields = asked or (_FULL_LIST_FIELDS if request.flag("full") else _LIST_FIELDS)
    if request.flag("cardData"):
        fields = (*fields, "cardData")
    visible = [repo for repo in state.repos.all(kind) if _is_listed(state, request, repo)]
    found = [
        known
        for known in (info.facts(state, repo, repo.head) for repo in visible)
        if _matches(request, known)
    ]
    sort = request.first("sort") or "trendingScore"
    if sort not in _SORT_FIELDS:
        raise HubError(400, f'"sort" must be one of [{", ".join(_SORT_FIELDS)}]')
    found.sort(key=partial(_FIELDS[_SORT_FIELDS[sort]], state), reverse=True)
    limit = request.first("limit")
    page = min(int(limit), state.page_size) if limit else None
    return paged(state, request, [_describe(state, known, fields) for known in found], page)


def _is_listed(state: HubState, request: Request, repo: Repo) -> bool:
    author = request.first("author")
    if author is not None and repo.id.split("/")[0] != author:
        return False
    return state.can_read(request.token, repo)


def _matches(request: Request, known: info.Facts) -> bool:
    search = (request.first("search") or "").lower()
    wanted = {part for text in request.all("filter") for part in text.split(",")}
    gated = request.first("gated")
    if gated is not None and (gated.lower() == "true") != bool(known.repo.settings.gated):
        return False
    return search in known.repo.id.lower() and wanted <= set(known.tags)
