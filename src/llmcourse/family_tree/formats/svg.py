"""A family as an SVG picture: names that can be selected, links to the models, what is known in tooltips.

It follows the reader's dark or light setting, also inside `<img>`: Graphviz writes the light colours as
attributes, and a style sheet exchanges them.
"""

import re
from collections.abc import Callable
from xml.sax.saxutils import escape

from llmcourse.family_tree.formats import dot, graphviz
from llmcourse.family_tree.formats.look import (
    ColourBy,
    details,
    edge_details,
    legend,
    printable,
    title,
)
from llmcourse.family_tree.graph import Graph

_DARK_PAGE = {"#ffffff": "#0d1117", dot.INK: "#e6edf3", dot.MUTED: "#b1bac4"}
_NODE = re.compile(r'<g id="node\d+" class="node">.*?</g>\n(?=<!--|</g>)', re.DOTALL)
_OUTLINE = re.compile(r' (?:d|points)="([^"]*)"')
_TITLE = re.compile(r"<title>(.*?)</title>")
# An arrow has two titles, its link's and its group's; the browser shows the innermost.
_LINK_TITLE = re.compile(r' xlink:title="[^"]*"')


def check() -> None:
    graphviz.program()


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    drawn = graphviz.draw(dot.render(graph, colour_by), "-Tsvg").decode()
    picture = drawn[drawn.index("<svg") :]  # without the DOCTYPE, which names a file of w3.org
    head, body = picture.split(">", 1)
    body = _LINK_TITLE.sub("", _TITLE.sub(_title_of(graph), body))
    body = _NODE.sub(_centred, body)
    body = body.replace(
        'font-family="Arial"', 'font-family="Arial,Helvetica,Arimo,Liberation Sans,sans-serif"'
    )
    return f'{head} role="img">\n<style>{_style(colour_by)}</style>{body}'.encode()


def _title_of(graph: Graph) -> Callable[[re.Match[str]], str]:
    """Graphviz titles everything with the names of the nodes in its own text; these are for people."""
    ids = dot.ids(graph)
    titles = {"family": printable(f"Family tree of {', '.join(graph.roots)}")}
    for name, node in graph.nodes.items():
        titles[ids[name]] = "\n".join([title(node), *(f"{key}: {value}" for key, value in details(node))])
    for edge in graph.edges:
        titles[f"{ids[edge.parent]}&#45;&gt;{ids[edge.child]}"] = edge_details(edge)
    return lambda match: f"<title>{escape(titles[match[1]])}</title>" if match[1] in titles else match[0]


def _centred(node: re.Match[str]) -> str:
    """Lines of text around the middle of their box, so that a reader's other font still fits it."""
    outline = _OUTLINE.search(node[0])
    across = [float(x) for x in re.findall(r"(-?[\d.]+),-?[\d.]+", outline[1])] if outline else []
    if not across:
        return node[0]
    middle = (min(across) + max(across)) / 2
    return re.sub(r'text-anchor="\w+" x="[^"]*"', f'text-anchor="middle" x="{middle:.2f}"', node[0])


def _style(colour_by: ColourBy) -> str:
    """The dark page: each colour that Graphviz has written, and what it becomes."""
    changes = [f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}'
               for light, dark in _DARK_PAGE.items()]  # fmt: skip
    for colour in legend(colour_by).values():
        changes.append(f'[fill="{colour.fill}"]{{fill:{colour.dark_fill}}}')
        changes.append(f'[stroke="{colour.line}"]{{stroke:{colour.dark_line}}}')
        changes.append(f'[fill="{colour.line}"]{{fill:{colour.dark_line}}}')
    return f"@media (prefers-color-scheme:dark){{{''.join(dict.fromkeys(changes))}}}"
