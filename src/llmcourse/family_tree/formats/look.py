"""What all pictures of a family share: words, colours and marks.

Nothing is told by colour alone: a licence is written on its model, a relation on its edge, and a model that
could not be read has a border of its own and says so.  The hues are those of Okabe and Ito (2008), which
people with any of the usual colour blindnesses tell apart; lines are darkened and fills tinted until text and
lines have the contrasts of WCAG 2.2.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from llmcourse.core.human import human_count
from llmcourse.core.licences import Kind, kind
from llmcourse.family_tree.graph import Edge, Graph, Node, Relation, State

ColourBy = Literal["licence", "relation"]


@dataclass(frozen=True)
class Colour:
    """One entry of a legend: #rrggbb of lines and fills on light pages, and of both on dark ones."""

    word: str
    line: str
    fill: str
    dark_line: str
    dark_fill: str


_GREEN, _BLUE, _ORANGE, _VERMILION, _PURPLE, _GREY = range(6)
_COLOURS = (
    ("#007a5a", "#d3efe6", "#35c79f", "#0a3d2f"),
    ("#0072b2", "#d6e9f5", "#62b9ef", "#0b3c5a"),
    ("#b87900", "#fcecc9", "#f0b23c", "#4a3707"),
    ("#c24a00", "#fbdccb", "#ff9560", "#5c2a0c"),
    ("#a8467b", "#f5dfeb", "#e79fc8", "#55284a"),
    ("#66707a", "#e8eaed", "#a3adb7", "#33383e"),
)

_LICENCES = {
    Kind.PERMISSIVE: _GREEN,
    Kind.COPYLEFT: _BLUE,
    Kind.USE_RESTRICTED: _ORANGE,
    Kind.NON_COMMERCIAL: _VERMILION,
    Kind.OWN_TERMS: _PURPLE,
    Kind.UNSTATED: _GREY,
}
_RELATIONS = {
    Relation.MERGE: _PURPLE,
    Relation.FINETUNE: _BLUE,
    Relation.ADAPTER: _GREEN,
    Relation.QUANTIZED: _ORANGE,
    Relation.UNKNOWN: _GREY,
}
_LONGEST_NAME, _LONGEST_LICENCE = 100, 40  # the Hub allows names of 96 characters; paths may be longer
_BASE = "base"  # the class, by relation, of a model that has no parent in the graph

# What a model's border says of its state, in Graphviz' and in the page's words.
DASHES = {
    State.READ: "solid",
    State.LOCAL: "solid",
    State.REST: "solid",
    State.GATED: "dashed",
    State.MISSING: "dashed",
    State.DISABLED: "dashed",
    State.FAILED: "dashed",
    State.BEYOND: "dotted",
}
_STATE_WORDS = {
    State.GATED: "gated",
    State.MISSING: "missing",
    State.DISABLED: "disabled",
    State.FAILED: "not read",
    State.LOCAL: "local",
    State.BEYOND: "not followed",
}
UNREAD = frozenset({State.MISSING, State.DISABLED, State.FAILED})


def legend(colour_by: ColourBy) -> dict[str, Colour]:
    """Class -> its colour, in the order in which a legend lists them."""
    if colour_by == "licence":
        return {_class(kind): Colour(kind.value, *_COLOURS[index]) for kind, index in _LICENCES.items()}
    words = {_class(relation): (_relation_word(relation), index) for relation, index in _RELATIONS.items()}
    words |= {_BASE: ("no parent known", _GREY)}
    return {name: Colour(word, *_COLOURS[index]) for name, (word, index) in words.items()}


def classes(graph: Graph, colour_by: ColourBy) -> Mapping[str, str]:
    """Model -> the class by which it is coloured: its licence's kind, or how it came from its parents."""
    if colour_by == "licence":
        return {node.id: _class(kind(node.licence)) for node in graph.nodes.values()}
    relations: dict[str, set[Relation]] = defaultdict(set)
    for edge in graph.edges:
        relations[edge.child].add(edge.relation)
    # The order of Relation decides where evidences disagree: a merge is more than one of its steps.
    return {
        name: next((_class(relation) for relation in Relation if relation in relations[name]), _BASE)
        for name in graph.nodes
    }


def used_classes(graph: Graph, colour_by: ColourBy) -> set[str]:
    """The classes that a legend of this family needs; by relation its edges have colours too."""
    by_relation = {relation_class(edge) for edge in graph.edges} if colour_by == "relation" else set()
    return set(classes(graph, colour_by).values()) | by_relation


def relation_class(edge: Edge) -> str:
    return _class(edge.relation)


def title(node: Node) -> str:
    """The name of a model, or what a node stands for."""
    if node.state is State.REST:
        return f"and {node.hidden:,} more" if node.hidden else "and more"
    return cropped(node.id, _LONGEST_NAME)


def caption(node: Node) -> str:
    """What is written below a name: licence, parameters, state."""
    if node.state is State.REST:
        return ""
    parts = [
        cropped(node.licence or "", _LONGEST_LICENCE),
        human_count(node.parameters) if node.parameters else None,
        state_word(node),
    ]
    return " · ".join(part for part in parts if part)


def state_word(node: Node) -> str:
    """The state of a model where it is not simply one that was read."""
    if node.state is State.READ:
        return "gated" if node.is_gated else "private" if node.is_private else ""
    return _STATE_WORDS.get(node.state, "")


def edge_words(edge: Edge) -> str:
    """The relation as it is written on an edge: `merge 0.5`, `finetune`; a cycle is said."""
    words = [_relation_word(edge.relation)]
    words += [f"{edge.weight:.3g}"] if edge.weight is not None else []
    words += ["(cycle)"] if edge.closes_cycle else []
    return " ".join(words)


def details(node: Node) -> list[tuple[str, str]]:
    """What is known of a model, for tooltips: name and value, without what is not known."""
    is_known = node.state not in UNREAD | {State.REST, State.BEYOND}
    on_hub = ", ".join(f"{count:,} {word}" for word, count in node.children_count.items() if count)
    rows = [
        ("state", " – ".join(part for part in (state_word(node), node.reason) if part)),
        ("licence", node.licence or ("none stated" if is_known else "")),
        ("architecture", node.architecture or ""),
        ("parameters", human_count(node.parameters) if node.parameters else ""),
        ("downloads", f"{node.downloads:,}" if node.downloads is not None else ""),
        ("likes", f"{node.likes:,}" if node.likes is not None else ""),
        ("created", (node.created or "")[:10]),
        ("also asked for as", ", ".join(node.names)),
        ("on the Hub", on_hub),
    ]
    return [(name, printable(value)) for name, value in rows if value]


def edge_details(edge: Edge) -> str:
    """Relation, method, evidence and disagreement of an edge, in one line."""
    share = f"{edge.share:.1%} of the weights" if edge.share is not None else ""
    parts = [
        edge_words(edge),
        edge.method or "",
        share,
        f"by {', '.join(edge.evidence)}" if edge.evidence else "",
        edge.note,
    ]
    return printable("; ".join(part for part in parts if part))


def cropped(text: str, longest: int) -> str:
    """A text that is short enough to be drawn; what people write into cards need not be."""
    text = printable(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def printable(text: str) -> str:
    """Cards are written by strangers: nothing in them moves a cursor or turns the direction of writing."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def web_address(node: Node) -> str:
    """The page of a model, where its address is one of the web; nothing in it ends an attribute."""
    return quote(node.url, safe="/:?&=%@+~") if node.url.startswith(("https://", "http://")) else ""


def _relation_word(relation: Relation) -> str:
    return "relation unknown" if relation is Relation.UNKNOWN else relation.value


def _class(value: str) -> str:
    """A name that CSS, Graphviz and Mermaid all take."""
    return value.replace(" ", "-")
