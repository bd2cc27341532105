"""A family as one HTML file that asks the network for nothing: zoom, search, facts, collapse, legend, keys.

It is drawn on a canvas, because thousands of models as elements of a page make every click slow.  The layout
is made where the page is opened, by dagre in a worker (page/engine.js says why), so that writing it needs no
program.  Everything that comes from cards is data: it reaches the page as text and never as markup.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from llmcourse.family_tree.formats import telling
from llmcourse.family_tree.formats.look import (
    DASHES,
    UNREAD,
    ColourBy,
    caption,
    classes,
    cropped,
    details,
    edge_details,
    edge_words,
    legend,
    relation_class,
    title,
    web_address,
)
from llmcourse.family_tree.graph import Graph, State

DAGRE_VERSION = "3.1.3"  # of page/dagre.min.js, as npm's @dagrejs/dagre has it
_SCRIPTS = ("family.js", "layout.js", "paint.js", "boxes.js", "moving.js", "panel.js", "main.js")
_LONGEST_TITLE = 160
_COLOURINGS: tuple[ColourBy, ...] = ("licence", "relation")


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    page = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return (
        page.from_string(_part("page.html.jinja"))
        .render(
            title=cropped(f"Family tree of {', '.join(graph.roots)}", _LONGEST_TITLE),
            count=f"{len(graph.nodes):,}",
            data=_json(_data(graph, colour_by)),
            style=_part("page.css"),
            script="".join(_part(name).replace('"use strict";\n', "") for name in _SCRIPTS),
            engine=_part("engine.js").replace('"use strict";\n', ""),
            dagre=_part("dagre.min.js").partition("\n/*!")[0],
            dagre_licence=_part("dagre.LICENSE.txt"),
            dagre_version=DAGRE_VERSION,
        )
        .encode()
    )


def _data(graph: Graph, colour_by: ColourBy) -> dict[str, Any]:
    """What the script reads; nodes are numbered, edges name numbers."""
    number = {name: index for index, name in enumerate(graph.nodes)}
    classes_by = {way: classes(graph, way) for way in _COLOURINGS}
    return {
        "colourBy": colour_by,
        "roots": [number[root] for root in graph.roots],
        "legends": {way: _legend(way) for way in _COLOURINGS},
        "summary": telling.rows(graph),
        "findings": [
            (number.get(finding.node, -1), cropped(finding.sentence, 500)) for finding in graph.findings
        ],
        "nodes": [
            _node(graph, name) | {"classes": {way: classes_by[way][name] for way in _COLOURINGS}}
            for name in graph.nodes
        ],
        "edges": [
            {
                "parent": number[edge.parent],
                "child": number[edge.child],
                "relation": relation_class(edge),
                "words": edge_words(edge),
                "details": edge_details(edge),
                "cycle": edge.closes_cycle,
            }
            for edge in graph.edges
        ],
    }


def _node(graph: Graph, name: str) -> dict[str, Any]:
    node = graph.nodes[name]
    shown = title(node)
    # The owner has a line of its own on a model; paths and whatever is no repository's name have one line.
    owner, slash, rest = shown.partition("/")
    is_repository = (
        bool(slash and owner and rest) and "/" not in rest and node.state not in (State.LOCAL, State.REST)
    )
    return {
        "title": shown,
        "owner": f"{owner}/" if is_repository else "",
        "name": rest if is_repository else shown,
        "caption": caption(node),
        "details": details(node),
        "dash": DASHES[node.state],
        "isUnread": node.state in UNREAD,
        "hidden": node.state is State.REST,
        "url": web_address(node),
    }


def _legend(colour_by: ColourBy) -> dict[str, dict[str, str]]:
    return {
        name: {
            "word": colour.word,
            "line": colour.line,
            "fill": colour.fill,
            "darkLine": colour.dark_line,
            "darkFill": colour.dark_fill,
        }
        for name, colour in legend(colour_by).items()
    }


def _json(data: object) -> str:
    """JSON in which nothing can end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _part(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
