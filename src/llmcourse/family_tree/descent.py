"""The models made from one: in one request, or where they are many, a fair part of each relation."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmcourse.core.hub.asking import Hub
from llmcourse.core.hub.family import Children, SeenModel, Unseen, list_children, see
from llmcourse.family_tree.graph import Relation

_RELATIONS = (Relation.MERGE, Relation.FINETUNE, Relation.ADAPTER, Relation.QUANTIZED)
_WORDS = {
    Relation.MERGE: ("merge", "merges"),
    Relation.FINETUNE: ("finetune", "finetunes"),
    Relation.ADAPTER: ("adapter", "adapters"),
    Relation.QUANTIZED: ("quantized model", "quantized models"),
    Relation.UNKNOWN: ("model", "models"),
}


@dataclass(frozen=True)
class Descendants:
    """The children that are shown, and how many of each relation are not (0: some, and unknown how many)."""

    parent: str
    models: tuple[SeenModel, ...] = ()
    hidden: Mapping[Relation, int] | None = None
    failures: tuple[str, ...] = ()


def read_children(hub: Hub, parent: str, counts: Mapping[str, int], limit: int) -> Descendants:
    """The most downloaded children.

    `base_model:ID` finds children of every relation at once, and each one's tags say which it is.  Only where
    there are more than the limit is each relation asked for by itself, so that quantized copies, which are
    downloaded most, do not hide all merges.
    """
    if sum(counts.values()) <= limit:
        found = list_children(hub, parent, None, limit)
        if found.failure or not found.has_more:
            failed = (found.failure,) if found.failure else ()
            return Descendants(parent, found.models, failures=failed)
    if not counts:
        seen = see(hub, parent)
        counts = {} if isinstance(seen, Unseen) else seen.children_count
    numbers = {relation: counts.get(relation.value, 0) for relation in _RELATIONS}
    if not any(numbers.values()):
        # The Hub knows of more and not of how many.
        found = list_children(hub, parent, None, limit)
        return Descendants(parent, found.models, {Relation.UNKNOWN: 0})
    models: dict[str, SeenModel] = {}
    hidden: dict[Relation, int] = {}
    failures: list[str] = []
    for relation, part in shared_out(numbers, limit).items():
        found = list_children(hub, parent, relation.value, part) if part else Children(())
        models |= {model.id: model for model in found.models}
        failures += [found.failure] if found.failure else []
        if numbers[relation] > len(found.models) or found.has_more:
            hidden[relation] = max(0, numbers[relation] - len(found.models))
    return Descendants(parent, tuple(models.values()), hidden, tuple(failures))


def shared_out(numbers: Mapping[Relation, int], limit: int) -> dict[Relation, int]:
    """How many of each relation to show: an equal part each, and what one leaves over goes to the others."""
    parts: dict[Relation, int] = {}
    wanted = sorted((relation for relation in numbers if numbers[relation]), key=lambda each: numbers[each])
    for index, relation in enumerate(wanted):
        parts[relation] = min(numbers[relation], (limit - sum(parts.values())) // (len(wanted) - index))
    return parts


def rest_sentence(relation: Relation, hidden: int) -> str:
    one, many = _WORDS[relation]
    return f"and {hidden:,} more {one if hidden == 1 else many}" if hidden else f"and more {many}"
