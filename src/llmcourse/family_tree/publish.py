"""The family tree into a model's card: whose, on which branch, and by which commit or pull request."""

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.core.card_head import head_problem
from llmcourse.core.errors import ConfigError, PlanError, PublishError
from llmcourse.core.model import ModelRef, is_hub_id
from llmcourse.family_tree import formats
from llmcourse.family_tree.config import CardTarget, Colours, Config, reference
from llmcourse.family_tree.graph import Graph
from llmcourse.family_tree.markers import with_tree
from llmcourse.family_tree.presentable import presentable

if TYPE_CHECKING:
    from llmcourse.core.hub import Place

_CARD = "README.md"
# Also what an open pull request of ours is found by, so it is always the same.
_MESSAGE = "Show the family tree made by llmcourse"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Published:
    """`url` is where the card, or the pull request, is seen; `reference` what a pipe hands on."""

    url: str
    reference: str


def card_place(config: Config) -> "Place":
    """Where the tree is to go; proves before anything else is done that this token may put it there.

    Raises:
        ConfigError: a folder that no repository is known of.
        PlanError: no token, no right to write there, no such model or branch, no network, or markers in the
            card that are not one pair, or a head that the Hub will not take.
    """
    from llmcourse.core import hub

    target = config.hub or CardTarget()
    ref = reference(config.model[0])
    repo = target.repo or _repo_of(ref)
    revision = target.revision or (None if target.repo or ref.is_local else ref.revision)
    # A commit, which is what comes through pipes, has no card that could be changed: the branch has.
    revision = None if revision and _COMMIT.fullmatch(revision) else revision
    place = hub.editable(repo, revision, target.pull_request, "--push")
    with hub.translated(repo):
        try:
            card = hub.read_texts(place, [_CARD])[_CARD]
        except UnicodeDecodeError:
            raise PlanError(f"{_CARD} of {repo} is not UTF-8 text.", "Save it as UTF-8.", _CARD) from None
    try:
        with_tree(card or "", "")
    except PublishError as error:
        raise PlanError(error.what, error.fix, error.where) from error
    problem = head_problem(card or "")
    if problem:
        raise PlanError(f"The head of {_CARD} of {repo} is no YAML ({problem}).", "Correct it there.", _CARD)
    return place


def publish(place: "Place", graph: Graph, colour_by: Colours) -> Published:
    """Commit or propose the card with the tree; nothing where the card has just this tree already.

    Raises:
        PublishError: the Hub refused, or the card's markers are not one pair.
    """
    from llmcourse.core import hub

    place = replace(place, repo=_present_name(place.repo, graph))
    with hub.translated(place.repo, PublishError):
        is_public = any(node.is_private for node in graph.nodes.values()) and not hub.is_private(place)
    shown = presentable(graph, place.repo, is_public)
    mermaid = formats.render(shown, "mermaid", colour_by).decode("utf-8")
    url = hub.edit(place, [_CARD], lambda texts: {_CARD: with_tree(texts[_CARD] or "", mermaid)}, _MESSAGE)
    _, sign, number = url.rpartition("/discussions/")
    revision = f"refs/pr/{number}" if place.as_pull_request and sign else place.revision
    return Published(url, f"hf://{place.repo}@{revision}")


def _repo_of(ref: ModelRef) -> str:
    """The repository of a model that is named by its id, or of a folder that was pushed from here."""
    if not ref.is_local:
        return ref.path
    try:
        repo = json.loads((ref.folder / MANIFEST_NAME).read_text(encoding="utf-8"))["hub"]["repo"]
    except (OSError, ValueError, KeyError, TypeError):
        repo = None  # there is no manifest, it was not pushed, or the file is not ours
    if isinstance(repo, str) and is_hub_id(repo):
        return repo
    raise ConfigError(
        f"{ref} is a folder, and nothing says which repository of the Hub it is.",
        "Name it in a YAML file, as hub: {repo: me/name}, or give the model by its id.",
        "--push",
    )


def _present_name(repo: str, graph: Graph) -> str:
    """The Hub answers for a model that was renamed, but takes no commit under the old name."""
    known = graph.nodes.values()
    return next((node.id for node in known if repo in (node.id, *node.names) and is_hub_id(node.id)), repo)
