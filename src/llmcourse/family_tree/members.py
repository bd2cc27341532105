"""What is known of a family while it is walked: its members, by whatever name they are called."""

from collections.abc import Iterator
from dataclasses import replace

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.core.hub.family import SeenModel
from llmcourse.family_tree.edges import edges_of
from llmcourse.family_tree.evidence import Claim, Described, unusable_base_models
from llmcourse.family_tree.graph import Edge, Finding, Node, State
from llmcourse.family_tree.local import LocalModel
from llmcourse.family_tree.names import Named, claimed_id
from llmcourse.family_tree.reading import Member


class Members:
    """Nodes by their ids, and who claims to come from whom.  Nothing here depends on the order of arrival."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.claims: dict[str, tuple[Claim, ...]] = {}
        self._models: dict[str, Described] = {}
        self._ids: dict[str, str] = {}  # by each spelling, in lower case
        self._spellings: dict[str, set[str]] = {}  # of those that the Hub spells otherwise
        self._doubtful: set[str] = set()  # named by tags alone, and no models as it seems

    def add(self, member: Member) -> str:
        """Keep what was read, unless it is known by another name already; returns its id."""
        name = member.node.id
        for spelling in (member.wanted, name):
            self._ids[spelling.lower()] = name
        if name != member.wanted:
            self._spellings.setdefault(name, set()).add(member.wanted)
        if name not in self.nodes:
            self.update(member)
        return name

    def update(self, member: Member) -> None:
        """Take what was read of a member in place of what was known."""
        name = member.node.id
        self.nodes[name] = member.node
        if member.is_doubtful:
            self._doubtful.add(name)
        if member.model is not None:
            self._models[name] = member.model
            self.claims[name] = member.claims

    def add_listed(self, node: Node, model: SeenModel, claims: list[Claim]) -> None:
        """A model as a list of the Hub described it."""
        self.add(Member(node.id, node, model, tuple(claims)))

    def place(self, name: str, state: State, reason: str = "") -> str:
        """A member that nobody needs to ask for."""
        return self.add(Member(name, Node(name, state, reason=reason)))

    def known(self, named: Named) -> str | None:
        return self._ids.get(key_of(named))

    def parents_of(self, child: str) -> Iterator[tuple[Named, Claim]]:
        """What a member's claims mean: see `_named`."""
        for claim in self.claims.get(child, ()):
            yield self._named(self._models[child], claim), claim

    @staticmethod
    def _named(child: Described, claim: Claim) -> Named:
        """The parent that a claim means; without id and reason, it is a folder of this machine."""
        if isinstance(child, LocalModel) and (place := child.neighbour(claim.parent)):
            return Named(None, place)
        if claim.evidence == MANIFEST_NAME and "/" not in claim.parent:
            return Named(
                None, claim.parent, f"{claim.parent!r} was a folder on the machine where it was used."
            )
        return claimed_id(claim.parent)

    def edges_to(self, child: str) -> tuple[list[Edge], list[Finding]]:
        """The edges from the parents that are members."""
        said: dict[str, list[Claim]] = {}
        findings: list[Finding] = []
        for named, claim in self.parents_of(child):
            parent = self.known(named)
            if parent == child:
                sentence = f"{child} names itself as its base model ({claim.evidence})."
                findings.append(Finding("cycle", child, sentence))
            elif parent is not None and not (parent in self._doubtful and claim.is_tentative):
                said.setdefault(parent, []).append(claim)
        edges = edges_of(child, self._models[child], said) if said else []
        return edges, findings

    def named_node(self, name: str) -> Node:
        """The node with the other names by which it was asked for."""
        return replace(self.nodes[name], names=tuple(sorted(self._spellings.get(name, ()))))

    def findings_of(self, name: str) -> list[Finding]:
        """A sentence for each spelling by which a member was asked for and that is not the Hub's, and for a
        base model that is no name.
        """
        findings = []
        if name in self._models and (strange := unusable_base_models(self._models[name])):
            sentence = f"The card of {name} has {strange} for a base model, which is no model's name."
            findings.append(Finding("unreadable", name, sentence))
        for other in sorted(self._spellings.get(name, ())):
            said = "is spelt" if other.lower() == name.lower() else "is by now called"
            findings.append(Finding("name", name, f"{other} {said} {name} on the Hub."))
        return findings


def key_of(named: Named) -> str:
    return (named.id or named.shown).lower()
