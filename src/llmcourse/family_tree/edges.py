"""From what each place says to one edge for each parent, with a note where the places do not agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.family_tree.evidence import (
    ADAPTER,
    CARD,
    CONFIG,
    GPTQ,
    HUB,
    HUB_TAG,
    TAG,
    Claim,
    Described,
    is_merge,
)
from llmcourse.family_tree.graph import Edge, Finding, Relation
from llmcourse.family_tree.recipes import RECIPE_NAMES

_SAID = {HUB: "the Hub's list", HUB_TAG: "the Hub's tag", CARD: "the card", TAG: "a tag"}
_WHOLE = (Relation.FINETUNE, Relation.QUANTIZED, Relation.ADAPTER)


def edges_of(child: str, model: Described, claims: Mapping[str, Sequence[Claim]]) -> list[Edge]:
    """The edges to a model from its parents (node id -> what names it), in the order of the claims."""
    places = list(dict.fromkeys(claim.evidence for said in claims.values() for claim in said))
    recipe = next((place for place in places if _is_recipe(place)), None)
    edges = []
    for parent, said in claims.items():
        named_by = tuple(dict.fromkeys(claim.evidence for claim in said))
        relation, notes = _relation(said, model, len(claims))
        part = next((claim for claim in said if claim.evidence == recipe), None)
        notes += _silence(said, named_by, places)
        edges.append(
            Edge(
                parent,
                child,
                relation,
                named_by,
                weight=part.weight if part else None,
                method=part.method if part else None,
                note=" ".join(notes),
                share=part.share if part else None,
            )
        )
    return _with_shares(edges, recipe)


def disagreements(edges: Sequence[Edge]) -> list[Finding]:
    return [
        Finding("disagreement", edge.child, f"{edge.parent} as a parent of {edge.child}: {edge.note}")
        for edge in edges
        if edge.note
    ]


def _relation(said: Sequence[Claim], model: Described, parents: int) -> tuple[Relation, list[str]]:
    """A recipe knows best, then what an author wrote, then what the Hub inferred."""
    by_recipe = [claim for claim in said if _is_recipe(claim.evidence)]
    explicit = [claim for claim in said if claim.is_explicit and claim.relation is not Relation.UNKNOWN]
    known = [claim for claim in said if claim.relation is not Relation.UNKNOWN]
    chosen = next(iter([*by_recipe, *explicit, *known]), None)
    if chosen is None:
        return Relation.UNKNOWN, []
    if chosen.relation is Relation.FINETUNE and parents == 1 and is_merge(model) and not chosen.is_explicit:
        # With one parent listed, the Hub infers a finetune.
        return Relation.MERGE, ["The Hub takes it for a finetune, its tags say merge."]
    others = [claim for claim in known if claim.relation is not chosen.relation]
    if not others:
        return chosen.relation, []
    other = others[0]
    return chosen.relation, [
        f"{_capital(_said(other))} says {other.relation}, {_said(chosen)} says {chosen.relation}."
    ]


def _silence(said: Sequence[Claim], named_by: Sequence[str], places: Sequence[str]) -> list[str]:
    """Who names other parents and not this one; a card may leave out the base of a merge."""
    silent = [place for place in places if place not in named_by]
    if all(claim.is_base for claim in said if _is_recipe(claim.evidence)) and any(
        _is_recipe(claim.evidence) for claim in said
    ):
        silent = []
    if not silent or TAG in named_by:
        return []
    names = " and ".join(_SAID.get(place, place) for place in named_by)
    others = " and ".join(_SAID.get(place, place) for place in silent)
    return [f"{_capital(names)} {'name' if len(named_by) > 1 else 'names'} it, {others} "
            f"{'do' if len(silent) > 1 else 'does'} not."]  # fmt: skip


def _with_shares(edges: list[Edge], recipe: str | None) -> list[Edge]:
    """Weights that come from one parent alone do so as a whole; who is not in the recipe gave none."""
    if len(edges) == 1 and edges[0].relation in _WHOLE:
        return [replace(edges[0], share=1.0)]
    if recipe and all(edge.share is not None for edge in edges if recipe in edge.evidence):
        return [edge if recipe in edge.evidence else replace(edge, share=0.0) for edge in edges]
    return edges


def _is_recipe(place: str) -> bool:
    return place in RECIPE_NAMES or place == "recipe in the card"


def _said(claim: Claim) -> str:
    return _SAID.get(claim.evidence, "our manifest" if claim.evidence == MANIFEST_NAME else claim.evidence)


def _capital(text: str) -> str:
    return text if text.startswith((*RECIPE_NAMES, ADAPTER, GPTQ, CONFIG)) else text[:1].upper() + text[1:]
