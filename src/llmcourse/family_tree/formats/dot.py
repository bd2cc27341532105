"""A family in Graphviz' language: for `dot` itself, and what the pictures are made from."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from llmcourse.family_tree.formats.look import (
    DASHES,
    UNREAD,
    Colour,
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
    used_classes,
    web_address,
)
from llmcourse.family_tree.graph import Graph, Node, State

# Beyond this many edges the network simplex gets a limit: minutes become seconds and edges straight lines.
_LARGE = 1_000
_FONT = "Arial"  # one that Graphviz has the widths of, also where it is not installed
_LONGEST_TITLE = 120
INK, MUTED = "#1f2328", "#57606a"


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    return "".join(f"{line}\n" for line in _lines(graph, colour_by)).encode()


def ids(graph: Graph) -> dict[str, str]:
    """Model -> its node's name in the text."""
    return {name: f"n{index}" for index, name in enumerate(graph.nodes)}


def _lines(graph: Graph, colour_by: ColourBy) -> Iterator[str]:
    id_of, classes_of, colours = ids(graph), classes(graph, colour_by), legend(colour_by)
    yield "digraph family {"
    yield "  graph [rankdir=LR, nodesep=0.18, ranksep=0.7, pad=0.25, outputorder=edgesfirst]"
    below = _legend(graph, colours, used_classes(graph, colour_by))
    yield f'  graph [bgcolor="#ffffff", fontname="{_FONT}", labelloc=b, labeljust=l, label=<{below}>]'
    if len(graph.edges) > _LARGE:
        yield "  graph [splines=line, nslimit=2, nslimit1=2, mclimit=0.3]"
    yield f'  node [shape=box, fontname="{_FONT}", fontsize=11, margin="0.18,0.07", height=0.3]'
    yield f'  edge [fontname="{_FONT}", fontsize=9, color="{MUTED}", fontcolor="{MUTED}", arrowsize=0.6]'
    for name, node in graph.nodes.items():
        yield f"  {id_of[name]} [{_node(node, colours[classes_of[name]], name in graph.roots)}]"
    for edge in graph.edges:
        told = edge_details(edge)
        values = {
            "label": f" {edge_words(edge)} ",
            "tooltip": told,
            "edgetooltip": told,
            "labeltooltip": told,
        }
        if colour_by == "relation":
            line = colours[relation_class(edge)].line
            values |= {"color": line, "fontcolor": line}
        if edge.closes_cycle:
            # It would turn the order of generations around.
            values |= {"style": "dashed", "constraint": "false"}
        yield f"  {id_of[edge.parent]} -> {id_of[edge.child]} [{_attributes(values)}]"
    yield "}"


def _node(node: Node, colour: Colour, is_root: bool) -> str:
    ink = MUTED if node.state in UNREAD else INK
    name, below = _text(title(node)), _text(caption(node))
    label = f'<font color="{ink}"><b>{name}</b></font>'
    label += f'<br/><font color="{MUTED}" point-size="9">{below}</font>' if below else ""
    values = {
        "fillcolor": colour.fill,
        "color": colour.line,
        "style": f"filled,rounded,{DASHES[node.state]}",
        "penwidth": "2.6" if is_root else "1.2",
        "tooltip": "\n".join([title(node), *(f"{name}: {value}" for name, value in details(node))]),
    }
    values |= {"peripheries": "2"} if node.state is State.REST else {}
    values |= {"URL": address, "target": "_blank"} if (address := web_address(node)) else {}
    return f"label=<{label}>, {_attributes(values)}"


def _legend(graph: Graph, colours: dict[str, Colour], used: set[str]) -> str:
    """What stands below the picture: whose family it is, and a field for each colour in it."""
    fields = "".join(
        f'<td bgcolor="{colour.fill}" color="{colour.line}" border="1">'
        f'<font point-size="9" color="{INK}"> {_text(colour.word)} </font></td>'
        for name, colour in colours.items()
        if name in used
    )
    whose = _text(cropped(f"Family tree of {', '.join(graph.roots)}", _LONGEST_TITLE))
    title_row = f'<td border="0" align="left"><font point-size="12" color="{INK}">{whose}</font></td>'
    fields = f'<table border="0" cellborder="1" cellspacing="4" cellpadding="5"><tr>{fields}</tr></table>'
    rows = f'<tr>{title_row}</tr><tr><td align="left">{fields}</td></tr>'
    return f'<table border="0" cellborder="0">{rows}</table>'


def _text(text: str) -> str:
    """Text of a label; Graphviz replaces \\N and \\G there too, and leaves two backslashes as two."""
    return escape(text, {"\\": "\\\\", '"': "&quot;"})


def _attributes(values: dict[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in values.items())


def _quoted(text: str) -> str:
    """A string in which Graphviz sees no end, no escape (it would replace \\G by a name) and no entity."""
    for special, safe in (("\\", "\\\\"), ('"', '\\"'), ("&", "&amp;"), ("\n", "\\n")):
        text = text.replace(special, safe)
    return f'"{text}"'
