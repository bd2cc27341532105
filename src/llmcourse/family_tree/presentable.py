"""The family as strangers may read it in a card: without the names of private models and of folders here."""

from collections.abc import Mapping
from dataclasses import replace

from llmcourse.core.hub.family import is_model_id
from llmcourse.family_tree.graph import Graph, Node, State


def presentable(graph: Graph, repo: str, is_public: bool) -> Graph:
    """The same shape under other names; `repo` is the repository whose card it is.

    A folder, also one that is gone, gets its own name without the path, the one that was pushed to `repo`
    that name.  In a public
    card a private model keeps its place and nothing else: who made it may not want it to be known.
    """
    folders = {
        name
        for name, node in graph.nodes.items()
        if node.state is State.LOCAL or (node.state is not State.REST and not is_model_id(name))
    }
    private = _private(graph) if is_public else set()
    names: dict[str, str] = {}
    taken = set(graph.nodes) - folders - private
    for name in graph.nodes:
        if name in folders:
            wanted = repo if graph.roots == (name,) else name.rstrip("/").rpartition("/")[2] or "folder"
        elif name in private:
            wanted = "a private model"
        else:
            parent, _, relation = name.partition("#")  # of a node for the rest of a model's children
            is_of_hidden = bool(relation) and parent in folders | private
            wanted = f"{names.get(parent, 'more')}#{relation}" if is_of_hidden else name
        names[name] = name if name == wanted else _free(wanted, taken)
        taken.add(names[name])
    return _renamed(graph, names, private)


def _private(graph: Graph) -> set[str]:
    """Private models, and what was not read and only their cards name: it may be private as well."""
    private = {name for name, node in graph.nodes.items() if node.is_private}
    named_by: dict[str, set[str]] = {}
    for edge in graph.edges:
        named_by.setdefault(edge.parent, set()).add(edge.child)
    unread = {name for name, node in graph.nodes.items() if node.state in (State.BEYOND, State.MISSING)}
    return private | {name for name in unread if named_by.get(name, {""}) <= private}


def _free(wanted: str, taken: set[str]) -> str:
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted} ({number})"
    return name


def _renamed(graph: Graph, names: Mapping[str, str], private: set[str]) -> Graph:
    nodes: dict[str, Node] = {}
    for name, node in graph.nodes.items():
        if name in private:
            nodes[names[name]] = Node(names[name], is_private=True)
        elif names[name] != name:
            state = State.READ if graph.roots == (name,) and node.state is State.LOCAL else node.state
            nodes[names[name]] = replace(node, id=names[name], state=state, url="", reason="", names=())
        else:
            nodes[name] = node
    edges = tuple(
        replace(edge, parent=names[edge.parent], child=names[edge.child], note="") for edge in graph.edges
    )
    return replace(
        graph,
        roots=tuple(names[root] for root in graph.roots),
        nodes=nodes,
        edges=edges,
        levels={names[name]: level for name, level in graph.levels.items()},
        findings=(),
        shares={names.get(name, name): share for name, share in graph.shares.items()},
    )
