"""Who the parents of a merge are, on the Hub or off it, and what their cards say together."""

from collections.abc import Iterator
from dataclasses import dataclass

from llmcourse.core.model import ModelFacts, is_hub_id
from llmcourse.core.plan import Facts
from llmcourse.merge.config import Config


@dataclass(frozen=True)
class Parent:
    """`hub_id` is None for a folder that came from nowhere on the Hub; `name` is never a local path."""

    written: str
    name: str
    hub_id: str | None
    facts: ModelFacts


def parents(config: Config, facts: Facts) -> list[Parent]:
    """Every model that gives weights to the result, directly or through a stage, in the order written."""
    weights = {
        part
        for stage in config.merge
        for reference in stage.references()
        for part in reference.parts
    }  # fmt: skip
    found = []
    for written, model in facts.models.items():
        if written in weights and isinstance(model, ModelFacts):
            name = model.hub_id or model.ref.place.name
            found.append(Parent(written, name, model.hub_id, model))
    return found


def hub_ids(config: Config, facts: Facts) -> list[str]:
    found = [parent.hub_id for parent in parents(config, facts) if parent.hub_id]
    return list(dict.fromkeys(hub_id for hub_id in found if is_hub_id(hub_id)))


def parent_licences(config: Config, facts: Facts) -> dict[str, str | None]:
    """Licence of each parent by its card, lower case as the Hub writes it."""
    return {parent.name: _licence(parent.facts) for parent in parents(config, facts)}


def _licence(facts: ModelFacts) -> str | None:
    value = facts.card.get("license")
    if isinstance(value, list):
        value = value[0] if value else None
    return str(value).lower() if value else None


def languages(config: Config, facts: Facts) -> list[str]:
    return list(
        dict.fromkeys(language for parent in parents(config, facts) for language in _languages(parent))
    )


def _languages(parent: Parent) -> Iterator[str]:
    value = parent.facts.card.get("language")
    for language in value if isinstance(value, list) else [value]:
        # YAML reads the language "no" as false.
        if language is not None:
            yield "no" if language is False else str(language)
