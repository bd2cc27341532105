"""A family as one JSON document; docs/family-tree.schema.json describes it."""

import json
from dataclasses import asdict
from typing import Any

from llmcourse.family_tree.formats.look import ColourBy
from llmcourse.family_tree.graph import Graph

VERSION = 1  # goes up when a reader of the last version would misread the document


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    return (json.dumps(document(graph), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
        errors="backslashreplace"
    )


def document(graph: Graph) -> dict[str, Any]:
    """Everything that is known; nodes and edges in the graph's order, weights and shares from 0 to 1."""
    return {
        "version": VERSION,
        "roots": list(graph.roots),
        "licence": graph.licence,
        "shares": dict(graph.shares),
        "nodes": [asdict(node) | {"level": graph.levels.get(node.id)} for node in graph.nodes.values()],
        "edges": [asdict(edge) for edge in graph.edges],
        "findings": [asdict(finding) for finding in graph.findings],
    }
