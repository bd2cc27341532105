"""What a family tells: shares of the bases, whether licences go together, numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmcourse.core import licences
from llmcourse.family_tree.graph import Edge, Finding, Graph, Node, Relation, State

_SMALLEST_SHARE = 1e-6
_KNOWN = (State.READ, State.GATED, State.LOCAL)


@dataclass(frozen=True)
class Summary:
    """Counts over a graph; `depth` and `height` are the levels above and below the roots."""

    depth: int
    height: int
    models: int  # each one that is shown; not those a node stands for
    merges: int  # models that were made by merging
    relations: Mapping[str, int]  # of edges
    states: Mapping[str, int]
    licences: Mapping[str, int]  # "unknown" where none is stated


def summary(graph: Graph) -> Summary:
    models = [node for node in graph.nodes.values() if node.state is not State.REST]
    return Summary(
        depth=-min([0, *graph.levels.values()]),
        height=max([0, *graph.levels.values()]),
        models=len(models),
        merges=len(
            {edge.child for edge in graph.edges if edge.relation is Relation.MERGE} & {n.id for n in models}
        ),
        relations=Counter(edge.relation.value for edge in graph.edges),
        states=Counter(node.state.value for node in graph.nodes.values()),
        licences=Counter(node.licence or "unknown" for node in models if node.state in _KNOWN),
    )


def enriched(graph: Graph) -> Graph:
    """The graph with its first root's shares and licence, and with what is wrong with the roots' licences."""
    if not graph.roots:
        return graph
    above = _parents(graph)
    found: list[Finding] = []
    strictest: str | None = None
    for number, root in enumerate(graph.roots):
        ancestors = _ancestors(root, above)
        licence, findings = _verdict(graph, root, ancestors)
        found += findings
        strictest = licence if number == 0 else strictest
    return replace(
        graph,
        findings=(*graph.findings, *found),
        shares=_shares(graph.roots[0], above),
        licence=strictest,
    )


def _parents(graph: Graph) -> dict[str, list[Edge]]:
    above: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if not edge.closes_cycle:
            above.setdefault(edge.child, []).append(edge)
    return above


def _ancestors(root: str, above: Mapping[str, list[Edge]]) -> list[str]:
    """Nearest first, without the root."""
    found: dict[str, None] = {root: None}
    frontier = [root]
    while frontier:
        following = dict.fromkeys(edge.parent for child in frontier for edge in above.get(child, ()))
        frontier = [name for name in following if name not in found]
        found.update(dict.fromkeys(frontier))
    return list(found)[1:]


def _shares(root: str, above: Mapping[str, list[Edge]]) -> dict[str, float]:
    """How much of the root's weights came from each model at which they can be followed no further.

    A share goes up through fine-tunes and quantizations whole, and through a merge as its recipe says.  Where
    one does not say, the merge itself stands for its part.  Empty where nothing can be told.
    """
    order = _children_first(root, above)
    parts: dict[str, float] = {root: 1.0}
    ends: dict[str, float] = {}
    for name in order:
        part = parts.get(name, 0.0)
        edges = above.get(name, [])
        if not edges or any(edge.share is None for edge in edges):
            ends[name] = part
            continue
        for edge in edges:
            parts[edge.parent] = parts.get(edge.parent, 0.0) + part * (edge.share or 0.0)
    told = {name: share for name, share in ends.items() if share > _SMALLEST_SHARE}
    return {} if set(told) <= {root} else dict(sorted(told.items(), key=lambda item: -item[1]))


def _children_first(root: str, above: Mapping[str, list[Edge]]) -> list[str]:
    """The root and its ancestors so that each comes after all of its own children among them."""
    waiting: Counter[str] = Counter()
    for name in [root, *_ancestors(root, above)]:
        waiting.update({edge.parent for edge in above.get(name, ())})
    ready, order = [root], []
    while ready:
        name = ready.pop()
        order.append(name)
        for parent in {edge.parent: None for edge in above.get(name, ())}:
            waiting[parent] -= 1
            if waiting[parent] == 0:
                ready.append(parent)
    return order


def _verdict(graph: Graph, root: str, ancestors: list[str]) -> tuple[str | None, list[Finding]]:
    """The strictest licence that the ancestors leave to the root, and what is wrong with its own."""
    known = [graph.nodes[name] for name in ancestors if graph.nodes[name].state in _KNOWN]
    stated = {node.id: node.licence for node in known}
    unread = [graph.nodes[name] for name in ancestors if graph.nodes[name].state not in _KNOWN]
    missing = f"More terms may hold for {root}: the licence of {_named(unread)} could not be read."
    unknown = [Finding("licence", root, missing)] if unread else []
    if not stated:
        return None, unknown
    allowed = licences.combine(stated)
    findings: list[Finding] = []
    forbidding = [node for node in known if _forbids_commerce(node.licence)]
    if forbidding:
        sentence = f"{root} inherits terms that forbid commercial use from {_named(forbidding)}."
        findings.append(Finding("licence", root, sentence))
    if allowed.warning:
        findings.append(Finding("licence", root, allowed.warning))
    findings += _own_licence(graph.nodes[root], known, allowed)
    return allowed.name, findings + unknown


def _forbids_commerce(licence: str | None) -> bool:
    return licences.kind(licence) is licences.Kind.NON_COMMERCIAL and "-nd-" not in (licence or "").replace(
        "-nc-nd-", ""
    )


def _own_licence(root: Node, known: Sequence[Node], allowed: licences.Licence) -> list[Finding]:
    """Whether what the root says of itself is as strict as what it was made from."""
    if root.licence is None:
        sentence = f"{root.id} states no licence; its ancestors leave it {allowed.name!r}."
        return [Finding("licence", root.id, sentence)]
    own = root.licence
    if own == "other" and licences.kind(allowed.name) is not licences.Kind.PERMISSIVE:
        sentence = (
            f"Whether {root.id}, published as other, keeps the terms of {_named(known)} cannot be told."
        )
        return [Finding("licence", root.id, sentence)]
    if own in (allowed.name, "other") or _holds_beside(own, {node.id: node.licence for node in known}):
        return []
    stricter = [node for node in known if not _holds_beside(own, {node.id: node.licence})]
    sentence = f"{root.id} is published as {own}, and that is not enough for {_named(stricter or known)}."
    return [Finding("licence", root.id, sentence)]


def _holds_beside(own: str, others: Mapping[str, str | None]) -> bool:
    """Whether something may carry this licence that was made from models of those."""
    return licences.combine({**others, "": own}).name == own


def _named(nodes: Sequence[Node]) -> str:
    """Up to three of them with their licences, and how many more."""
    names = [f"{node.id} ({node.licence or 'none stated'})" if node.state in _KNOWN else node.id
             for node in nodes[:3]]  # fmt: skip
    names += [f"{len(nodes) - 3} more"] if len(nodes) > 3 else []
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
