"""The family of a model as nodes and edges: what the walk makes and every format draws."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Relation(StrEnum):
    """How a child came from its parent, in the Hub's words."""

    MERGE = "merge"
    FINETUNE = "finetune"
    ADAPTER = "adapter"
    QUANTIZED = "quantized"
    UNKNOWN = "unknown"  # it names the parent and not the relation


class State(StrEnum):
    """Whether a model could be read, and if not, why."""

    READ = "read"
    GATED = "gated"  # its card is there, its files are not ours to read
    MISSING = "missing"  # deleted, never there, or private and hidden from us: the Hub does not say which
    DISABLED = "disabled"
    FAILED = "failed"  # the Hub did not answer, also after retries
    LOCAL = "local"  # a folder on this machine
    BEYOND = "beyond"  # not asked: past the depth or the limit
    REST = "rest"  # stands for many children that are not shown one by one


@dataclass(frozen=True)
class Node:
    """One model. `id` is the Hub's own spelling; a local folder's is its path as written."""

    id: str
    state: State = State.READ
    url: str = ""
    licence: str | None = None  # the Hub's identifier; None where none is stated
    architecture: str | None = None  # model_type of its configuration
    parameters: int | None = None
    downloads: int | None = None
    likes: int | None = None
    created: str | None = None  # ISO 8601
    is_private: bool = False
    is_gated: bool = False
    reason: str = ""  # one sentence about a state other than READ
    names: tuple[str, ...] = ()  # other spellings by which it was asked for: renamed, letter case, URL
    children_count: Mapping[str, int] = field(default_factory=dict)  # relation -> number, as the Hub counts
    hidden: int = 0  # how many models a node of state REST stands for


@dataclass(frozen=True)
class Edge:
    """`child` was made from `parent`."""

    parent: str
    child: str
    relation: Relation
    evidence: tuple[str, ...]  # where it is said: "baseModels", "card", "mergekit_config.yml", "tag", ...
    weight: float | None = None  # of the parent in the merge, as its config says
    method: str | None = None  # of the merge
    note: str = ""  # one sentence, where two evidences disagree
    share: float | None = None  # of the parent in the child's weights, 0 to 1, where it can be told
    closes_cycle: bool = False  # following it comes back to where one was; formats draw it apart


@dataclass(frozen=True)
class Finding:
    """Something a reader must know: what could not be read, licences that conflict, a cycle."""

    kind: str  # "unreadable", "licence", "cycle", "disagreement", "name", "limit"
    node: str
    sentence: str


@dataclass(frozen=True)
class Graph:
    """The family of `roots`, the models that were asked for.

    Nodes are ordered by the level at which they were found, edges as their children.  Every edge's ends are
    nodes.  `levels` counts from the roots: ancestors below zero, descendants above.
    """

    roots: tuple[str, ...]
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    levels: Mapping[str, int]
    findings: tuple[Finding, ...] = ()
    # Of the first root: base model -> its share of the final weights, where merge weights allow to tell.
    shares: Mapping[str, float] = field(default_factory=dict)
    licence: str | None = None  # the strictest that the first root may carry, by its ancestors

    def parents(self, child: str) -> list[Edge]:
        return [edge for edge in self.edges if edge.child == child]

    def children(self, parent: str) -> list[Edge]:
        return [edge for edge in self.edges if edge.parent == parent]
