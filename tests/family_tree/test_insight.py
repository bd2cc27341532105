"""Shares of the bases, licences that go together or not, and counts: from graphs made by hand."""

import pytest

from llmcourse.family_tree.graph import Edge, Graph, Node, Relation, State
from llmcourse.family_tree.insight import enriched, summary
from tests.family_tree.conftest import Seed, Walker


def family(
    *edges: tuple[str, str, Relation, float | None],
    states: dict[str, State] | None = None,
    **licences: str | None,
) -> Graph:
    """The first edge's child is the root; models are permissive unless said otherwise."""
    names = list(dict.fromkeys(name for parent, child, *_ in edges for name in (child, parent)))
    nodes = {
        name: Node(name, (states or {}).get(name, State.READ), licence=licences.get(name, "mit"))
        for name in names
    }
    made = tuple(Edge(parent, child, kind, ("card",), share=share) for parent, child, kind, share in edges)
    root = edges[0][1]
    levels = {root: 0}
    for edge in made:
        levels.setdefault(edge.parent, levels[edge.child] - 1)
    return Graph((root,), nodes, made, levels)


MERGE, FINETUNE = Relation.MERGE, Relation.FINETUNE


def told(graph: Graph) -> list[str]:
    return [finding.sentence for finding in enriched(graph).findings]


def test_shares_go_up_to_the_bases() -> None:
    graph = family(
        ("a", "m", MERGE, 0.25), ("b", "m", MERGE, 0.75), ("base", "a", FINETUNE, 1.0),
        ("n", "b", FINETUNE, 1.0), ("base", "n", MERGE, 0.5), ("other", "n", MERGE, 0.5),
    )  # fmt: skip
    assert enriched(graph).shares == pytest.approx({"base": 0.625, "other": 0.375})


def test_a_merge_without_weights_stands_for_its_part() -> None:
    graph = family(
        ("a", "m", MERGE, 0.25), ("b", "m", MERGE, 0.75), ("x", "b", MERGE, None), ("y", "b", MERGE, None)
    )
    assert enriched(graph).shares == {"b": 0.75, "a": 0.25}
    assert enriched(family(("x", "m", MERGE, None), ("y", "m", MERGE, None))).shares == {}


def test_a_path_of_many_ways_is_counted_once_each() -> None:
    """Twenty levels of two merges of each other's parents: a million ways up."""
    edges = [
        (f"{side}{level + 1}", f"{own}{level}", MERGE, 0.5)
        for level in range(20)
        for own in ("ab" if level else "a")
        for side in "ab"
    ]
    assert enriched(family(*edges)).shares == pytest.approx({"a20": 0.5, "b20": 0.5})


def test_the_strictest_licence_wins() -> None:
    edges = [("a", "m", MERGE, None), ("b", "m", MERGE, None), ("base", "a", FINETUNE, 1.0)]
    graph = family(*edges, m="apache-2.0", b="apache-2.0", base="llama3")
    assert enriched(graph).licence == "llama3"
    assert told(graph) == ["m is published as apache-2.0, and that is not enough for base (llama3)."]
    assert told(family(*edges, m="llama3", base="llama3")) == []


def test_a_licence_that_forbids_commerce_is_flagged() -> None:
    graph = family(("a", "m", FINETUNE, 1.0), ("b", "a", FINETUNE, 1.0), m="cc-by-nc-4.0", b="cc-by-nc-4.0")
    assert told(graph) == ["m inherits terms that forbid commercial use from b (cc-by-nc-4.0)."]
    graph = family(("a", "m", FINETUNE, 1.0), m="mit", a="cc-by-nd-4.0")
    assert not any("commercial" in sentence for sentence in told(graph))


def test_licences_that_conflict() -> None:
    graph = family(("a", "m", MERGE, None), ("b", "m", MERGE, None), m="mit", a="llama3", b="gemma")
    assert enriched(graph).licence == "other"
    assert "These licences conflict: a (llama3), b (gemma)." in told(graph)


def test_a_silent_model() -> None:
    assert "states no licence" in told(family(("a", "m", FINETUNE, 1.0), m=None, a="mit"))[0]
    assert "a states no licence, so the result's is unknown." in told(
        family(("a", "m", FINETUNE, 1.0), a=None)
    )


def test_what_could_not_be_read_may_hold_more_terms() -> None:
    graph = family(("a", "m", MERGE, None), ("gone", "m", MERGE, None), states={"gone": State.MISSING})
    assert told(graph) == ["More terms may hold for m: the licence of gone could not be read."]
    assert enriched(graph).licence == "mit"


def test_a_model_of_nobody() -> None:
    graph = Graph(("m",), {"m": Node("m", licence="gemma")}, (), {"m": 0})
    assert (enriched(graph).licence, enriched(graph).shares, enriched(graph).findings) == (None, {}, ())


def test_parents_that_could_not_be_read_leave_no_verdict() -> None:
    graph = family(("gone", "m", FINETUNE, 1.0), states={"gone": State.MISSING})
    assert enriched(graph).licence is None
    (finding,) = enriched(graph).findings
    assert "More terms may hold for m: the licence of gone could not be read." in finding.sentence


def test_terms_of_one_s_own_are_not_taken_for_those_of_the_ancestors() -> None:
    graph = family(("a", "m", FINETUNE, 1.0), a="gpl-3.0", m="other")
    assert (
        "m, published as other, keeps the terms of a (gpl-3.0) cannot be told"
        in enriched(graph).findings[-1].sentence
    )


def test_counts() -> None:
    graph = family(
        ("a", "m", MERGE, None), ("b", "m", MERGE, None), ("gone", "a", FINETUNE, 1.0),
        states={"gone": State.MISSING}, b=None,
    )  # fmt: skip
    counted = summary(graph)
    assert (counted.depth, counted.height, counted.models, counted.merges) == (2, 0, 4, 1)
    assert counted.relations == {"merge": 2, "finetune": 1}
    assert counted.states == {"read": 3, "missing": 1}
    assert counted.licences == {"mit": 2, "unknown": 1}


def test_a_walk_tells_of_licences_and_shares(walk: Walker, seed: Seed) -> None:
    seed("acme/base", license="apache-2.0")
    seed("acme/nc", license="cc-by-nc-4.0", base_model="acme/base")
    recipe = (
        "models: [{model: acme/nc, parameters: {weight: 1}}, {model: acme/base, parameters: {weight: 3}}]\n"
    )
    seed("acme/m", {"mergekit_config.yml": f"{recipe}merge_method: linear\n"}, license="apache-2.0")
    walked = walk("acme/m")
    assert walked.graph.shares == {"acme/base": 1.0} and walked.graph.licence == "cc-by-nc-4.0"
    assert len(walked.findings("licence")) == 2
