"""A family on a terminal: each model once with all its branches, and a line where it is met again."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text
from rich.tree import Tree

from llmcourse.family_tree.formats import telling
from llmcourse.family_tree.formats.look import (
    UNREAD,
    ColourBy,
    caption,
    classes,
    edge_words,
    printable,
    title,
)
from llmcourse.family_tree.graph import Edge, Graph, Relation, State

# The terminal's own sixteen colours: its user has chosen them to be read on their background.
_STYLES = {
    "permissive": "green",
    "copyleft": "blue",
    "use-restricted": "yellow",
    "non-commercial": "red",
    "own-terms": "magenta",
    "merge": "magenta",
    "finetune": "blue",
    "adapter": "green",
    "quantized": "yellow",
}
_GUIDE_COLUMNS = 4  # of rich's tree, for each generation
_OTHERS_NAMED = 2


def render(graph: Graph, colour_by: ColourBy, is_bare: bool = False) -> bytes:
    """The tree as plain text, a line for each model however long."""
    text = StringIO()
    Console(file=text, color_system=None).print(
        draw(graph, colour_by, is_plain=True, is_bare=is_bare), soft_wrap=True
    )
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()).encode()


def draw(
    graph: Graph,
    colour_by: ColourBy = "licence",
    width: int | None = None,
    is_plain: bool = False,
    is_bare: bool = False,
) -> Group:
    """A tree for each root, then what there is to say of them; print it with soft_wrap.

    `width` in columns: what has no room beside a name goes below it, and names are never cut; None keeps a
    line for each model.  `is_plain`: no styles, and `is_bare`: the trees alone.
    """
    drawing = _Drawing(graph, colour_by, width, is_plain)
    trees = [_Unfolded(drawing.tree(root), len(graph.nodes)) for root in graph.roots]
    return Group(*trees, *([] if is_bare else map(Text, _last_lines(graph))))


@dataclass(frozen=True)
class _Unfolded:
    """A tree with the columns it needs: rich leaves out what is further right than a terminal is wide."""

    tree: Tree
    models: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = options.max_width + (self.models + 2) * _GUIDE_COLUMNS
        yield from console.render(self.tree, options.update_width(columns))


class _Drawing:
    """What is known while the trees of one family are drawn: a model that was shown is not opened again."""

    def __init__(self, graph: Graph, colour_by: ColourBy, width: int | None, is_plain: bool) -> None:
        self._graph = graph
        self._width = width
        self._is_plain = is_plain
        self._classes = classes(graph, colour_by)
        self._edges: dict[bool, dict[str, list[Edge]]] = {True: defaultdict(list), False: defaultdict(list)}
        for edge in graph.edges:
            self._edges[True][edge.child].append(edge)
            self._edges[False][edge.parent].append(edge)
        self._opened: set[tuple[bool, str]] = set()
        self._common = _common_ancestors(graph, self._edges[True])

    def tree(self, root: str) -> Tree:
        tree = Tree(self._label(root, "", "", 0), guide_style="" if self._is_plain else "dim")
        ways = [is_up for is_up in (True, False) if self._edges[is_up][root]]
        for is_up in ways:
            place, depth = tree, 0
            if len(ways) > 1:
                heading = "made from" if is_up else "what came of it"
                place, depth = tree.add(Text(heading, style=self._style("italic"))), 1
            self._grow(place, root, is_up, depth)
        return tree

    def _grow(self, place: Tree, name: str, is_up: bool, depth: int) -> None:
        """Add the branches below one model; a stack, because chains get longer than Python's recursion."""
        self._opened.add((is_up, name))
        stack: list[tuple[Tree, Iterator[Edge]]] = [(place, iter(self._edges[is_up][name]))]
        while stack:
            here, edges = stack[-1]
            edge = next(edges, None)
            if edge is None:
                stack.pop()
                continue
            far = edge.parent if is_up else edge.child
            is_known = (is_up, far) in self._opened
            has_more = bool(self._edges[is_up][far])
            note = "shown above" if is_known and has_more and not edge.closes_cycle else ""
            branch = here.add(self._label(far, self._relation(edge, is_up), note, depth + len(stack)))
            if not is_known:
                self._opened.add((is_up, far))
                stack.append((branch, iter(self._edges[is_up][far])))

    def _relation(self, edge: Edge, is_up: bool) -> str:
        words = edge_words(edge)
        if edge.method and edge.relation is Relation.MERGE:
            words = words.replace("merge", f"merge ({edge.method})", 1)
        others = [] if is_up else [e.parent for e in self._edges[True][edge.child] if e.parent != edge.parent]
        if others:
            more = len(others) - _OTHERS_NAMED
            words += f" with {', '.join(others[:_OTHERS_NAMED])}" + (f" and {more} more" if more > 0 else "")
        return printable(words)

    def _label(self, name: str, relation: str, note: str, depth: int) -> Text:
        """A model and what follows it; what has no room beside its name goes below it."""
        node = self._graph.nodes[name]
        if name in self._common:
            note = "; ".join(filter(None, ["common ancestor", note]))
        parts = [part for part in (caption(node), relation, f"({note})" if note else "") if part]
        lines = self._lines(len(title(node)), parts, depth)
        style = _STYLES.get(self._classes[name], "default")
        weight = (
            "dim"
            if node.state in UNREAD | {State.BEYOND}
            else "italic"
            if node.state is State.REST
            else "bold"
        )
        text = Text(title(node), style=self._style(f"{weight} {style}"), no_wrap=True, overflow="ignore")
        return text.append("".join(lines), style=self._style("not bold default"))

    def _lines(self, taken: int, parts: list[str], depth: int) -> list[str]:
        """What follows a name of `taken` columns, with the line breaks before what has no room beside it."""
        if self._width is None:
            return [f"  {part}" for part in parts]
        room, found = self._width - depth * _GUIDE_COLUMNS, []
        for part in parts:
            if taken + 2 + len(part) <= room:
                found.append(f"  {part}")
                taken += 2 + len(part)
            else:
                shown = part if 2 + len(part) <= room else part[: max(room - 3, 0)] + "…"
                found.append(f"\n  {shown}")
                taken = 2 + len(shown)
        return found

    def _style(self, style: str) -> str:
        return "" if self._is_plain else style


def _common_ancestors(graph: Graph, parents: dict[str, list[Edge]]) -> set[str]:
    """The models from which all roots come, where several were asked for."""
    if len(graph.roots) < 2:
        return set()
    counts: Counter[str] = Counter()
    for root in graph.roots:
        seen, todo = {root}, [root]
        while todo:
            fresh = {edge.parent for edge in parents[todo.pop()]} - seen
            seen |= fresh
            todo += fresh
        counts.update(seen - {root})
    return {name for name, count in counts.items() if count == len(graph.roots)}


def _last_lines(graph: Graph) -> list[str]:
    return ["", *(f"{name}: {value}" for name, value in telling.rows(graph))]
