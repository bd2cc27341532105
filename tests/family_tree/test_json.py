"""The JSON document keeps to the schema that docs/ has of it."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llmcourse.family_tree import formats
from llmcourse.family_tree.graph import Edge, Finding, Graph, Node, Relation, State
from tests.family_tree import families

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "family-tree.schema.json").read_text(encoding="utf-8")
)
GRAPHS = {
    "small": families.small(),
    "everything": families.everything(),
    "large": families.large(300),
    "hostile": families.hostile('</script>"\x00'),
}


def document(graph: Graph) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(formats.render(graph, "json"))
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_a_document_is_valid_by_the_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document(GRAPHS[name]), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(("kind", "name"), [(Node, "node"), (Edge, "edge"), (Finding, "finding")])
def test_the_schema_has_every_field_of_the_graph_and_says_what_it_means(kind: type, name: str) -> None:
    described = SCHEMA["$defs"][name]
    added = {"level"} if kind is Node else set()
    assert set(described["properties"]) == {field.name for field in fields(kind)} | added
    assert set(described["required"]) == set(described["properties"])
    assert [key for key, value in described["properties"].items() if not value.get("description")] == []


def test_the_schema_knows_every_state_and_relation() -> None:
    assert SCHEMA["$defs"]["node"]["properties"]["state"]["enum"] == list(State)
    assert SCHEMA["$defs"]["edge"]["properties"]["relation"]["enum"] == list(Relation)


def test_the_schema_refuses_what_is_not_a_family() -> None:
    wrong = document(families.small()) | {"edges": [{"parent": "a"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_the_edges_name_nodes_and_the_order_is_the_graphs() -> None:
    graph = families.everything()
    found = document(graph)
    assert [node["id"] for node in found["nodes"]] == list(graph.nodes)
    assert {end for edge in found["edges"] for end in (edge["parent"], edge["child"])} <= set(graph.nodes)
    assert {node["id"]: node["level"] for node in found["nodes"]} == dict(graph.levels)
