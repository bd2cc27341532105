"""Edges by which one comes back to where one was.  Cards are written by hand: two may name each other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from llmcourse.family_tree.graph import Edge, Finding

Towards = Literal["parents", "children"]


def without_cycles(
    edges: Sequence[Edge], starts: Sequence[str], first: Towards
) -> tuple[tuple[Edge, ...], list[Finding]]:
    """The edges with those marked that close a cycle, as one meets them from `starts`, and what to say."""
    marked: set[tuple[str, str]] = set()
    findings: list[Finding] = []
    ways: tuple[Towards, Towards] = ("parents", "children") if first == "parents" else ("children", "parents")
    for towards in ways:
        open_edges = [edge for edge in edges if (edge.parent, edge.child) not in marked]
        for edge, path in _closing(open_edges, starts, towards):
            marked.add((edge.parent, edge.child))
            findings.append(Finding("cycle", edge.child, _sentence(path)))
    both = (replace(edge, closes_cycle=(edge.parent, edge.child) in marked) for edge in edges)
    return tuple(both), findings


def _closing(edges: Sequence[Edge], starts: Sequence[str], towards: Towards) -> list[tuple[Edge, list[str]]]:
    """Depth first, without recursion: families may be deeper than Python's stack."""
    following: dict[str, list[Edge]] = {}
    for each in edges:
        following.setdefault(each.child if towards == "parents" else each.parent, []).append(each)
    found: list[tuple[Edge, list[str]]] = []
    done: set[str] = set()
    for start in starts:
        path: dict[str, None] = {start: None}
        stack = [iter(following.get(start, ()))]
        while stack and start not in done:
            edge = next(stack[-1], None)
            if edge is None:
                stack.pop()
                done.add(path.popitem()[0])
                continue
            other = edge.parent if towards == "parents" else edge.child
            if other in path:
                names = list(path)
                found.append((edge, [*names[names.index(other) :], other]))
            elif other not in done:
                path[other] = None
                stack.append(iter(following.get(other, ())))
    return found


def _sentence(path: list[str]) -> str:
    if len(path) > 8:
        path = [*path[:4], f"{len(path) - 7} more", *path[-3:]]
    return f"These name each other as their origin, which cannot be: {' - '.join(path)}."
