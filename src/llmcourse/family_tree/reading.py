"""One member of the family: asked for once, with the files that tell more of where it comes from."""

from dataclasses import dataclass, replace

from llmcourse.core import licences
from llmcourse.core.hub.asking import Hub
from llmcourse.core.hub.family import SeenModel, Unseen, is_dataset, read_start, read_text, see
from llmcourse.family_tree.evidence import (
    GGUF_BYTES,
    Claim,
    Described,
    claims_of_file,
    claims_of_metadata,
    files_that_tell,
    problem_of_file,
)
from llmcourse.family_tree.graph import Node, Relation, State
from llmcourse.family_tree.local import LocalModel

_MOST_PARENTS = 500  # the largest merges on the Hub have some dozens
_STATES = {"missing": State.MISSING, "gated": State.GATED, "disabled": State.DISABLED, "failed": State.FAILED}


@dataclass(frozen=True)
class Wanted:
    """A model to be read. `tentative` is the relation of a tag that perhaps names no model."""

    name: str
    revision: str | None = None
    tentative: Relation | None = None
    with_files: bool = True  # its parents matter, so what its files say does


@dataclass(frozen=True)
class Member:
    """What was found. `is_doubtful`: only a tag speaks of it, and it seems to be no model.

    The files in `more` would add to claims that name the parents already, so nobody has to wait for them.
    """

    wanted: str
    node: Node
    model: Described | None = None
    claims: tuple[Claim, ...] = ()
    more: tuple[str, ...] = ()
    fix: str = ""
    is_doubtful: bool = False


def read_member(hub: Hub, wanted: Wanted) -> Member:
    """One request, and one for each file where nothing else names a parent; a failure is the node's state."""
    seen = see(hub, wanted.name, wanted.revision)
    if isinstance(seen, Unseen):
        node = Node(wanted.name, _STATES[seen.reason], f"{hub.url}/{wanted.name}", reason=seen.sentence)
        is_doubtful = seen.reason == "missing" and _is_no_model(hub, wanted)
        return Member(wanted.name, node, fix=seen.fix, is_doubtful=is_doubtful)
    claims = claims_of_metadata(seen)
    files = files_that_tell(seen, claims) if wanted.with_files else ()
    member = _member(wanted.name, node_of_hub(hub, seen), seen, claims, files)
    is_named = any(not claim.is_tentative for claim in claims)
    return member if is_named else read_more(hub, member)


def read_more(hub: Hub, member: Member) -> Member:
    """The same member with what its files say."""
    seen = member.model
    if not isinstance(seen, SeenModel) or not member.more:
        return member
    claims = list(member.claims)
    unread: list[Unseen] = []
    for name in member.more:
        found = _read(hub, seen, name)
        if isinstance(found, Unseen):
            unread.append(found)
            continue
        if isinstance(found, str) and (problem := problem_of_file(name, found)):
            what = f"{seen.id}: what cannot be read is {problem}."
            unread.append(Unseen("failed", what, "Correct it."))
            continue
        said = claims_of_file(name, found, seen)
        claims += said
        if said:
            break
    return _member(member.wanted, node_of_hub(hub, seen, unread), seen, claims)


def read_folder(path: str) -> Member:
    """A folder of this machine; its node is missing where there is no such model."""
    model = LocalModel.read(path)
    if model is None:
        what = f"There is no folder {path!r} with a model card, a configuration or an llmcourse.json."
        return Member(path, Node(path, State.MISSING, reason=what), fix="Check the path.")
    node = Node(
        path,
        State.LOCAL,
        licence=licence_of(model),
        architecture=architecture_of(model),
        parameters=model.parameters,
        reason=model.problem,
    )
    claims = model.claims()
    fix = "Correct it, so that its relatives are known." if model.problem and not claims else ""
    return replace(_member(path, node, model, claims), fix=fix)


def node_of_hub(hub: Hub, seen: SeenModel, unread: list[Unseen] | None = None) -> Node:
    """The node of a model that the Hub described."""
    refused = next((found for found in unread or [] if found.reason == "gated"), None)
    state, reason = State.READ, ""
    if seen.is_gated and (refused or not hub.has_token):
        # With a token, whether its files may be read is known only where one of them was wanted.
        state, reason = State.GATED, f"{seen.id} is gated: its card was read, its files were not."
    elif unread:
        reason = unread[0].sentence
    return Node(
        seen.id,
        state,
        f"{hub.url}/{seen.id}",
        licence_of(seen),
        architecture_of(seen) or _text(seen.gguf.get("architecture")),
        seen.parameters,
        seen.downloads,
        seen.likes,
        seen.created,
        seen.is_private,
        seen.is_gated,
        reason,
        children_count=dict(seen.children_count),
    )


def licence_of(model: Described) -> str | None:
    """The Hub's identifier, as the card has it or, for want of that, as a tag."""
    stated = model.card.get("license")
    if isinstance(stated, list):
        named = [name.strip().lower() for name in stated if isinstance(name, str) and name.strip()]
        # All of them hold, so it is the strictest, or terms that nobody can sum up.
        stated = licences.combine(dict(zip(named, named, strict=True))).name if named else None
    if isinstance(stated, str) and stated.strip():
        return stated.strip().lower()
    tagged = (tag.removeprefix("license:") for tag in model.tags if tag.startswith("license:"))
    return next(tagged, None)


def architecture_of(model: Described) -> str | None:
    return _text(model.config.get("model_type"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read(hub: Hub, seen: SeenModel, name: str) -> str | bytes | Unseen:
    if name.lower().endswith(".gguf"):
        return read_start(hub, seen, name, GGUF_BYTES)
    return read_text(hub, seen, name)


def _is_no_model(hub: Hub, wanted: Wanted) -> bool:
    """A missing model of which only a tag speaks: a merge's tags name its parents, others' name anything."""
    if wanted.tentative is None:
        return False
    return wanted.tentative is not Relation.MERGE or is_dataset(hub, wanted.name)


def _member(
    wanted: str, node: Node, model: Described, claims: list[Claim], more: tuple[str, ...] = ()
) -> Member:
    """Without what only tags guess, where something else names a parent; a card may name thousands."""
    firm = [claim for claim in claims if not claim.is_tentative] or claims
    names = list(dict.fromkeys(claim.parent for claim in firm))
    if len(names) > _MOST_PARENTS:
        said = f"{node.id} names {len(names):,} parents, of which the first {_MOST_PARENTS} were followed."
        node = replace(node, reason=node.reason or said)
    followed = set(names[:_MOST_PARENTS])
    return Member(wanted, node, model, tuple(claim for claim in firm if claim.parent in followed), more)
