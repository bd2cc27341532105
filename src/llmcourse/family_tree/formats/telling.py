"""What there is to say of a family as a whole, in a few rows below or beside its picture."""

from llmcourse.family_tree.formats.look import printable
from llmcourse.family_tree.graph import Graph
from llmcourse.family_tree.insight import summary


def rows(graph: Graph) -> list[tuple[str, str]]:
    """Name and value of each: size, licence and shares of the first root."""
    counts = summary(graph)
    hidden = sum(node.hidden for node in graph.nodes.values())
    generations = [_counted(counts.depth, "generation") + " back"] if counts.depth else []
    generations += [_counted(counts.height, "generation") + " on"] if counts.height else []
    told = [
        ("models", f"{counts.models:,}" + (f" and {hidden:,} more that are not drawn" if hidden else "")),
        ("reach", ", ".join(generations) or "no relatives known"),
        ("merges", f"{counts.merges:,}"),
    ]
    if graph.licence is not None and graph.roots:
        stated = graph.nodes[graph.roots[0]].licence
        told.append(("licence by its ancestors", f"{graph.licence} (it states {stated or 'none'})"))
    if graph.shares:
        shares = sorted(graph.shares.items(), key=lambda item: -item[1])
        told.append(("share of the weights", ", ".join(f"{name} {share:.1%}" for name, share in shares)))
    return [(name, printable(value)) for name, value in told]


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
