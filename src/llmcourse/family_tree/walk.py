"""From models to their family: ancestors and descendants, each model asked for once.

Nothing stops the walk: what cannot be read is a node that says so, with a finding.  Only a root that cannot
be read is an error, because nobody asked for anything else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmcourse.core.errors import ConfigError, PlanError, Problems
from llmcourse.core.hub.asking import Hub
from llmcourse.core.hub.family import meant
from llmcourse.core.model import ModelRef
from llmcourse.family_tree import insight
from llmcourse.family_tree.ascent import Ascent
from llmcourse.family_tree.cycles import without_cycles
from llmcourse.family_tree.descent import read_children, rest_sentence
from llmcourse.family_tree.edges import disagreements
from llmcourse.family_tree.evidence import claims_of_metadata
from llmcourse.family_tree.graph import Edge, Finding, Graph, Node, Relation, State
from llmcourse.family_tree.members import Members
from llmcourse.family_tree.names import claimed_id
from llmcourse.family_tree.reading import Member, Wanted, node_of_hub, read_folder, read_member

Direction = Literal["up", "down", "both"]
# Each model below costs one request, or one for each relation; without a token there are 500 in 5 minutes.
_MANY_BELOW = 1_000
_UNREAD = (State.GATED, State.MISSING, State.DISABLED, State.FAILED)


@dataclass(frozen=True)
class Options:
    """`limit` of the children shown of one parent; `depth` in levels from the roots.

    Without a depth all ancestors are read, and descendants up to the level in which they are many.
    """

    direction: Direction = "up"
    depth: int | None = None
    limit: int = 50
    is_offline: bool = False


def walk(
    roots: Sequence[str], options: Options, tell: Callable[[str], None], counted: Callable[[int, int], None]
) -> Graph:
    """The family of the roots.

    `tell` gets a sentence when the walk waits for the Hub, from whichever thread waits; `counted` gets how
    many models were read and how many are known.

    Raises:
        ConfigError: a root is no name of a model.
        PlanError: a root cannot be read; Problems where there are several such.
    """
    with Hub(tell, options.is_offline) as hub:
        family = _Family(hub, options, counted)
        found = family.begin(roots)
        if options.direction != "down":
            Ascent(hub, family.members, options.depth, counted).climb(found)
        if options.direction != "up":
            family.descend()
        return insight.enriched(family.graph())


class _Family:
    """The roots, their relatives, and what lies below them."""

    def __init__(self, hub: Hub, options: Options, counted: Callable[[int, int], None]) -> None:
        self.members = Members()
        self._hub = hub
        self._options = options
        self._counted = counted
        self._roots: list[str] = []
        self._below: dict[str, int] = {}
        self._rest: list[Edge] = []
        self._findings: list[Finding] = []

    def begin(self, roots: Sequence[str]) -> list[Member]:
        """Read the roots.

        Raises:
            PlanError, Problems: one, or several, cannot be read.
        """
        references = list(dict.fromkeys(_reference(root) for root in roots))
        climbs = self._options.direction != "down"
        remote = [Wanted(ref.path, ref.revision, with_files=climbs) for ref in references if not ref.is_local]
        read = iter(self._hub.map(lambda each: read_member(self._hub, each), remote))
        errors: list[PlanError] = []
        found: dict[str, Member] = {}
        for ref in references:
            member = read_folder(ref.path) if ref.is_local else next(read)
            # A fix is for what is not there, and for a folder of which only is known that it cannot be read.
            if member.model is None or member.fix:
                near = meant(self._hub, ref.path) if member.node.state is State.MISSING else ""
                errors.append(PlanError(member.node.reason, near + member.fix, where=str(ref)))
            else:
                found.setdefault(self.members.add(member), member)
        if errors:
            raise errors[0] if len(errors) == 1 else Problems(errors)
        self._roots = list(found)
        self._counted(len(found), len(found))
        return list(found.values())

    def descend(self) -> None:
        """Descendants, one level after the other; each level costs a request for each of its models."""
        nodes = self.members.nodes
        level, frontier = 0, [root for root in self._roots if nodes[root].state is not State.LOCAL]
        while frontier and (self._options.depth is None or level < self._options.depth):
            level += 1
            found = self._hub.map(
                lambda parent: read_children(
                    self._hub, parent, nodes[parent].children_count, self._options.limit
                ),
                frontier,
            )
            frontier = []
            for children in found:
                for model in children.models:
                    if model.id not in nodes:
                        frontier.append(model.id)
                        self._below[model.id] = level
                        node = node_of_hub(self._hub, model)
                        self.members.add_listed(node, model, claims_of_metadata(model))
                for relation, hidden in (children.hidden or {}).items():
                    self._add_rest(children.parent, relation, hidden, level)
                self._findings += [Finding("unreadable", children.parent, each) for each in children.failures]
                self._counted(len(nodes), len(nodes))
            if self._options.depth is None and len(self._below) >= _MANY_BELOW and frontier:
                self._findings.append(_end_of_descent(len(self._below), level))
                return

    def graph(self) -> Graph:
        """All that is connected with the roots, and what there is to say but for what `insight` adds."""
        edges: dict[str, list[Edge]] = {}
        selves: list[Finding] = []
        for child in self.members.claims:
            edges[child], named_itself = self.members.edges_to(child)
            selves += named_itself
        levels = dict.fromkeys(self._roots, 0)
        if self._options.direction != "down":
            levels = _levels_above(self._roots, edges)
        levels |= {name: level for name, level in self._below.items() if name not in levels}
        nodes = {name: self.members.named_node(name) for name in levels}
        kept = [edge for child in levels for edge in edges.get(child, ()) if edge.parent in levels]
        first: Literal["parents", "children"] = "children" if self._options.direction == "down" else "parents"
        marked, cycles = without_cycles([*kept, *self._rest], self._roots, first)
        findings = (
            *_unread(nodes.values()),
            *(finding for name in nodes for finding in self.members.findings_of(name)),
            *disagreements(kept),
            *self._findings,
            *sorted(selves, key=lambda finding: finding.node),
            *cycles,
        )
        return Graph(tuple(self._roots), nodes, marked, levels, findings)

    def _add_rest(self, parent: str, relation: Relation, hidden: int, level: int) -> None:
        name, sentence = f"{parent}#{relation}", rest_sentence(relation, hidden)
        self.members.nodes[name] = Node(
            name, State.REST, self.members.nodes[parent].url, reason=sentence, hidden=hidden
        )
        self._below[name] = level
        self._rest.append(Edge(parent, name, relation, ("childrenModelCount",)))
        self._findings.append(Finding("limit", parent, f"{parent}: {sentence} made from it, not shown."))


def _levels_above(roots: Sequence[str], edges: dict[str, list[Edge]]) -> dict[str, int]:
    """The roots and their ancestors, nearest first, in the order in which cards name them."""
    levels = dict.fromkeys(roots, 0)
    frontier = list(roots)
    while frontier:
        following: dict[str, int] = {}
        for child in frontier:
            for edge in edges.get(child, ()):
                if edge.parent not in levels:
                    following.setdefault(edge.parent, levels[child] - 1)
        levels |= following
        frontier = list(following)
    return levels


def _unread(nodes: Iterable[Node]) -> list[Finding]:
    return [
        Finding("unreadable", node.id, node.reason)
        for node in nodes
        if node.state in _UNREAD or (node.reason and node.state in (State.READ, State.LOCAL))
    ]


def _end_of_descent(count: int, level: int) -> Finding:
    said = f"{count:,} descendants were read, down to generation {level}, and not what came of that one."
    return Finding("limit", "", f"{said} Give a depth to go on, or a smaller limit.")


def _reference(root: str) -> ModelRef:
    """A root as users write it; an address of the Hub is taken for the model there."""
    if root.lower().startswith(("http://", "https://", "hf.co/", "huggingface.co/")):
        named = claimed_id(root)
        if named.id is None:
            raise ConfigError(named.reason, "Write it as org/name.", where=root)
        return ModelRef(named.id)
    reference = ModelRef.parse(root)
    if not reference.is_local and claimed_id(reference.path).id is None:
        raise ConfigError(f"{root!r} can be no model's id.", "Write it as org/name.", where=root)
    return reference
