"""A family as a Mermaid flowchart, to paste into a model card; without the fence around it.

GitHub, GitLab and others draw it with Mermaid's defaults: beyond 50,000 characters or 500 edges there is an
error in place of the picture (mermaid/packages/mermaid/src/config.type.ts: maxTextSize, maxEdges).  A larger
family loses its links first and then what is furthest from the roots, and says so.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from llmcourse.family_tree.formats.look import (
    DASHES,
    ColourBy,
    caption,
    classes,
    edge_words,
    legend,
    title,
    web_address,
)
from llmcourse.family_tree.graph import Graph, Node, State

MAX_CHARACTERS = 50_000
MAX_EDGES = 500
# All else is written as #code;, so no name can end a string, begin a Markdown string or be a tag.
_PLAIN = re.compile(r"[^A-Za-z0-9 ._/·,()+-]")
_DASHES = {"dashed": "6 4", "dotted": "2 3"}


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    for has_links in (True, False):
        if _fits(text := _flowchart(graph, colour_by, has_links), graph):
            return text.encode()
    order = sorted(graph.nodes, key=lambda name: abs(graph.levels.get(name, 0)))
    few, many = 1, len(order)
    while many - few > 1:
        middle = (few + many) // 2
        part = _nearest(graph, order[:middle])
        few, many = (middle, many) if _fits(_flowchart(part, colour_by, False), part) else (few, middle)
    return _flowchart(_nearest(graph, order[:few]), colour_by, False).encode()


def _fits(text: str, graph: Graph) -> bool:
    return len(text) <= MAX_CHARACTERS and len(graph.edges) <= MAX_EDGES


def _nearest(graph: Graph, names: list[str]) -> Graph:
    """The family with only these models, and a node that counts the others."""
    kept = set(names)
    hidden = sum(node.hidden or 1 for name, node in graph.nodes.items() if name not in kept)
    rest = Node("rest of the family", State.REST, hidden=hidden)
    nodes = {name: node for name, node in graph.nodes.items() if name in kept} | {rest.id: rest}
    edges = tuple(edge for edge in graph.edges if edge.parent in kept and edge.child in kept)
    return replace(graph, nodes=nodes, edges=edges)


def _flowchart(graph: Graph, colour_by: ColourBy, has_links: bool) -> str:
    return "".join(f"{line}\n" for line in _lines(graph, colour_by, has_links))


def _lines(graph: Graph, colour_by: ColourBy, has_links: bool) -> Iterator[str]:
    ids = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    classes_of = classes(graph, colour_by)
    yield "flowchart LR"
    yield f"  accTitle: Family tree of {_text(', '.join(graph.roots))}"
    for name, node in graph.nodes.items():
        below = f"<br/>{_text(caption(node))}" if caption(node) else ""
        yield f'  {ids[name]}["{_text(title(node))}{below}"]:::{classes_of[name]}'
    for edge in graph.edges:
        arrow = "-.->" if edge.closes_cycle else "-->"
        yield f'  {ids[edge.parent]} {arrow}|"{_text(edge_words(edge))}"| {ids[edge.child]}'
    used = set(classes_of.values())
    for name, colour in legend(colour_by).items():
        if name in used:
            yield f"  classDef {name} fill:{colour.fill},stroke:{colour.line},color:#111"
    for style, dashes in _DASHES.items():
        if dashed := [ids[name] for name, node in graph.nodes.items() if DASHES[node.state] == style]:
            yield f"  classDef {style} stroke-dasharray:{dashes}"
            yield f"  class {','.join(dashed)} {style}"
    yield "  classDef root stroke-width:3px"
    yield f"  class {','.join(ids[root] for root in graph.roots if root in ids)} root"
    if has_links:
        for name, node in graph.nodes.items():
            if address := web_address(node):
                yield f'  click {ids[name]} href "{address}" _blank'


def _text(text: str) -> str:
    return _PLAIN.sub(lambda match: f"#{ord(match[0])};", text)
