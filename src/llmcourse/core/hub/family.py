"""What the Hub tells about a model and about those made from it, in as few requests as it takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

from llmcourse.core.hub.asking import Hub, parsed
from llmcourse.core.hub.client import login_advice, nearest, unreached
from llmcourse.core.hub.kept_answers import Answer
from llmcourse.core.parameters import parameter_count

Reason = Literal["missing", "gated", "disabled", "failed"]

# One request brings all of these.
_LISTED = (
    "cardData", "config", "createdAt", "disabled", "downloads", "gated", "gguf", "library_name", "likes",
    "private", "safetensors", "sha", "siblings", "tags",
)  # fmt: skip
# In a list the Hub refuses these two (huggingface_hub pull request 3182).
_ALONE = (*_LISTED, "baseModels", "childrenModelCount")
_EXPAND_LISTED, _EXPAND_ALONE = (
    urlencode([("expand", name) for name in names]) for names in (_LISTED, _ALONE)
)
_PAGE = 1000
_MODEL_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class SeenModel:
    """A model as the Hub describes it; every field is what others wrote, checked for its type alone."""

    id: str
    sha: str = ""
    is_private: bool = False
    is_gated: bool = False
    is_disabled: bool = False
    downloads: int | None = None
    likes: int | None = None
    created: str | None = None
    tags: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    gguf: Mapping[str, Any] = field(default_factory=dict)
    library: str | None = None
    relation: str | None = None  # to its base models, as the Hub says it
    base_models: tuple[str, ...] = ()  # by their present names
    files: tuple[str, ...] = ()
    parameters: int | None = None
    children_count: Mapping[str, int] = field(default_factory=dict)  # relation -> number


@dataclass(frozen=True)
class Unseen:
    """A model that could not be read: why, as a sentence, and what may help."""

    reason: Reason
    sentence: str
    fix: str = ""


@dataclass(frozen=True)
class Children:
    """Models made from one, the most downloaded first."""

    models: tuple[SeenModel, ...]
    has_more: bool = False
    failure: str = ""  # a sentence, where the list or the rest of it could not be read


def is_model_id(text: str) -> bool:
    """`owner/name`, or `name` alone, as the first models of the Hub were called."""
    return _MODEL_ID.fullmatch(text) is not None and ".." not in text and len(text) <= 200


def see(hub: Hub, model: str, revision: str | None = None) -> SeenModel | Unseen:
    """One model, by one request; its `id` is the Hub's own spelling of its present name."""
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    answer = hub.api(f"models/{quote(model)}{at}?{_EXPAND_ALONE}")
    if answer.status != 200:
        return _unseen(hub, model, answer)
    found = _model(parsed(answer))
    if found is None:
        sentence = f"The Hub's answer for {model} could not be understood."
        return Unseen("failed", sentence, "Check HF_ENDPOINT and that no login page answers instead.")
    if found.is_disabled:
        return _disabled(model)
    return found


def meant(hub: Hub, model: str) -> str:
    """A question with the model of that owner whose name is most like it, empty where there is none."""
    owner = model.rpartition("/")[0]
    if not owner or hub.is_offline:
        return ""
    listed = parsed(hub.api(f"models?{urlencode({'author': owner, 'limit': _PAGE})}"))
    entries = listed if isinstance(listed, list) else []
    near = nearest(model, [str(entry.get("id")) for entry in entries if isinstance(entry, dict)])
    return f"Did you mean {near}? " if near else ""


def list_children(hub: Hub, model: str, relation: str | None, limit: int) -> Children:
    """The models made from this one, of one relation or of any; `model` must be the Hub's own spelling."""
    kind = f"base_model:{relation}:{model}" if relation else f"base_model:{model}"
    query = urlencode({"filter": kind, "sort": "downloads", "limit": min(max(limit, 1), _PAGE)})
    answer = hub.api(f"models?{query}&{_EXPAND_LISTED}")
    found: list[SeenModel] = []
    while answer.status == 200:
        entries = parsed(answer)
        if not isinstance(entries, list):
            said = f"The Hub's list of the models made from {model} could not be understood."
            return Children(tuple(found), failure=said)
        listed = entries
        found += [seen for entry in listed if (seen := _model(entry)) is not None]
        if len(found) >= limit or not answer.next_page or not listed:
            return Children(tuple(found[:limit]), bool(answer.next_page) or len(found) > limit)
        answer = hub.page(answer.next_page)
    return Children(tuple(found), failure=_unseen(hub, f"the models made from {model}", answer).sentence)


def read_text(hub: Hub, model: SeenModel, path: str) -> str | Unseen:
    """A small text of the model, at the commit that was seen."""
    answer = hub.file(_path(model, path))
    return answer.body if answer.status == 200 else _unseen(hub, f"{path} of {model.id}", answer)


def read_start(hub: Hub, model: SeenModel, path: str, length: int) -> bytes | Unseen:
    """The first bytes of one of the model's files."""
    answer = hub.file(_path(model, path), length)
    if answer.status in (200, 206):
        return answer.body.encode("latin-1")
    return _unseen(hub, f"{path} of {model.id}", answer)


def is_dataset(hub: Hub, name: str) -> bool:
    """Whether there is a data set of that name that we can see."""
    return hub.api(f"datasets/{quote(name)}?expand=sha").status == 200


def _path(model: SeenModel, path: str) -> str:
    return f"{quote(model.id)}/resolve/{quote(model.sha or 'main')}/{quote(path)}"


def _disabled(model: str) -> Unseen:
    return Unseen("disabled", f"{model} has been disabled by the Hub.", "Use another model.")


def _unseen(hub: Hub, what: str, answer: Answer) -> Unseen:
    """In the order of the Hub's codes: a repository that is missing and one that is hidden look the same."""
    login = login_advice()
    if answer.code == "GatedRepo":
        fix = f"Ask for access at {hub.url}/{what}, or {login}."
        return Unseen("gated", f"{what} is gated and you have no access.", fix)
    if answer.message == "Access to this resource is disabled.":
        return _disabled(what)
    if answer.code == "RepoNotFound" or (answer.status == 404 and not answer.code):
        sentence = f"There is no {what} on the Hub that you can see: deleted, misspelt, or private."
        return Unseen("missing", sentence, f"Check the name; if it is private, {login}.")
    if answer.status == 404:
        return Unseen("missing", f"{what} does not exist.", f"See {hub.url}/{what.partition('@')[0]}.")
    if answer.status == 0 and hub.is_offline:
        sentence = f"{what} is not among the answers that earlier runs kept, and the Hub is not asked."
        return Unseen("failed", sentence, "Go online and run it again.")
    if answer.status == 0:
        sentence = f"The Hub could not be reached for {what} ({answer.message})."
        return Unseen("failed", sentence, unreached("and run the same command again."))
    if answer.status == 401:
        sentence = f"The Hub refused your token for {what} ({answer.message or 'HTTP 401'})."
        return Unseen("failed", sentence, "Run `hf auth login` again or correct HF_TOKEN.")
    said = f": {answer.message}" if answer.message else ""
    sentence = f"The Hub failed on {what} (HTTP {answer.status}{said})."
    return Unseen("failed", sentence, "Run the same command again later.")


def _model(data: Any) -> SeenModel | None:
    """Whatever is not of the kind it should be tells nothing."""
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not is_model_id(data["id"]):
        return None
    base = _mapping(data.get("baseModels"))
    config, gguf = _mapping(data.get("config")), _mapping(data.get("gguf"))
    named = [entry.get("id") for entry in _list(base.get("models")) if isinstance(entry, dict)]
    files = [entry.get("rfilename") for entry in _list(data.get("siblings")) if isinstance(entry, dict)]
    weights = _mapping(data.get("safetensors"))
    numbers = {
        name: number
        for name, value in _mapping(weights.get("parameters")).items()
        if (number := _count(value))
    }
    total = (
        parameter_count(numbers, _mapping(config.get("quantization_config")))
        if numbers
        else _count(weights.get("total"))
    )
    counts = _mapping(data.get("childrenModelCount"))
    return SeenModel(
        id=data["id"],
        sha=_text(data.get("sha")) or "",
        is_private=data.get("private") is True,
        is_gated=data.get("gated") not in (None, False, "false"),
        is_disabled=data.get("disabled") is True,
        downloads=_count(data.get("downloads")),
        likes=_count(data.get("likes")),
        created=_text(data.get("createdAt")),
        tags=_texts(data.get("tags")),
        card=_mapping(data.get("cardData")),
        config=config,
        gguf=gguf,
        library=_text(data.get("library_name")),
        relation=_text(base.get("relation")),
        base_models=_texts(named),
        files=_texts(files),
        parameters=total or _count(gguf.get("total")),
        children_count={str(kind): number for kind, value in counts.items() if (number := _count(value))},
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in _list(value) if isinstance(item, str))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
