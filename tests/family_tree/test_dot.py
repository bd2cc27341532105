"""The Graphviz text: Graphviz itself reads it, and nothing in a card is read as its language."""

import json
import shutil

import pytest

from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import dot, graphviz
from llmcourse.family_tree.graph import Graph
from tests.family_tree import families

_HOSTILE = [
    '"]; evil [label="',
    "<b>&amp;&lt;",
    "\\",
    'ends in \\"',
    "\\G \\N \\n",
    "ünï 模型 🤗",
    "a\nb",
    "]]>",
]


def text_of(graph: Graph, **options: object) -> str:
    return formats.render(graph, "dot", **options).decode()  # type: ignore[arg-type]


def read_by_graphviz(graph: Graph) -> dict[str, object]:
    found: dict[str, object] = json.loads(graphviz.draw(text_of(graph).encode(), "-Tjson"))
    return found


@pytest.fixture(params=["graphviz-pure", "dot"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both Graphvizes by which pictures are made; the system's only where there is one."""
    if request.param == "dot":
        if (found := shutil.which("dot")) is None:
            pytest.skip("No Graphviz of the system is here.")
        monkeypatch.setattr(graphviz, "program", lambda: found)
    return str(request.param)


def test_the_colours_are_those_of_licences_or_relations() -> None:
    by_licence, by_relation = text_of(families.small()), text_of(families.small(), colour_by="relation")
    assert "non-commercial" in by_licence and "finetune" in by_relation
    assert "use-restricted" not in by_relation


def test_a_cycle_is_dashed_and_does_not_order_the_generations() -> None:
    lines = [line for line in text_of(families.everything()).splitlines() if "(cycle)" in line]
    assert len(lines) == 1 and 'style="dashed", constraint="false"' in lines[0]


def test_graphviz_reads_every_model_and_edge(program: str) -> None:
    graph = families.everything()
    read = read_by_graphviz(graph)
    assert isinstance(read["objects"], list) and isinstance(read["edges"], list)
    assert [node["name"] for node in read["objects"]] == list(dot.ids(graph).values())
    assert len(read["edges"]) == len(graph.edges)


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_graphviz_finds_no_language_of_its_own_in_a_card(program: str, hostile: str) -> None:
    read = read_by_graphviz(families.hostile(hostile))
    assert isinstance(read["objects"], list) and isinstance(read["edges"], list)
    assert [node["name"] for node in read["objects"]] == ["n0", "n1"]
    assert len(read["edges"]) == 1


def test_thousands_of_edges_get_the_fast_layout() -> None:
    assert "nslimit" in text_of(families.large(2_000))
    assert "nslimit" not in text_of(families.large(200))
