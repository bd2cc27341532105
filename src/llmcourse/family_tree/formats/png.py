"""A family as a PNG picture, of twice a screen's resolution: sharp in a README on any display."""

from llmcourse.family_tree.formats import dot, graphviz
from llmcourse.family_tree.formats.look import ColourBy
from llmcourse.family_tree.graph import Graph

_DPI = 192
# Browsers draw no picture of more pixels in one direction; a larger family is drawn smaller.
_LARGEST_PIXELS = 16_384


def check() -> None:
    graphviz.program()


def render(graph: Graph, colour_by: ColourBy) -> bytes:
    inches = _LARGEST_PIXELS / _DPI
    arguments = ("-Tpng", f"-Gdpi={_DPI}", f"-Gsize={inches:.1f},{inches:.1f}")
    return graphviz.draw(dot.render(graph, colour_by), *arguments)
