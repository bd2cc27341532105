"""The card of a result: the figures, what they were made with, and how to make them again."""

from typing import TYPE_CHECKING, Any

import yaml

from llmcourse.autoeval.conditions import conditions
from llmcourse.autoeval.config import Config
from llmcourse.autoeval.model_checks import names_of
from llmcourse.autoeval.suite import Suite
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata
from llmcourse.core.plan import Facts

if TYPE_CHECKING:
    from rich.table import Table

_DATA, _PLOT = "results.json", "scores.png"


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """The card; its figures are in the manifest too, so that it needs no file."""
    suite = Suite(**artifact.details["suite"])
    names = names_of(config, facts)
    files = {file.path: file for file in artifact.files}
    values = {
        "title": repo.rpartition("/")[2] if repo else f"{suite.name} of {', '.join(names.values())}",
        "suite": suite,
        "scores": files[_DATA].about["scores"] if _DATA in files else {},
        "plot": _PLOT if _PLOT in files else None,
        "recipe": _recipe(config, names),
        "conditions": conditions(config.runtime),
        "runtime": config.runtime,
        "batch_size": artifact.details["batch_size"],
        "device": artifact.details["device"],
        "revisions": artifact.inputs,
        "versions": {name: version for name, version in artifact.versions.items() if name != "lm_eval"}
        | artifact.details["versions"],
    }
    tags = ["llm-autoeval", "lm-eval", suite.name, "evaluation"]
    return Card(CardMetadata(library_name="", tags=tags), values)


def _recipe(config: Config, names: dict[str, str]) -> str:
    """The config that makes the same figures; folders of this machine are called by their names."""
    data: dict[str, Any] = {"model": list(names.values())}
    data |= config.model_dump(mode="json", exclude_defaults=True, include={"suite", "tasks", "runtime"})
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def shown(artifact: Artifact) -> "Table | None":
    """The first table as a terminal shows it, with the conditions below; None where there are no figures."""
    from rich.table import Table
    from rich.text import Text

    files = {file.path: file for file in artifact.files}
    suite = Suite(**artifact.details["suite"])
    figures = files[_DATA].about.get("scores", {}) if _DATA in files else {}
    if not figures:
        return None
    told = files[_DATA].about.get("conditions", [])
    table = Table(
        title=suite.label, title_justify="left", caption=Text("\n".join(told)), caption_justify="left"
    )
    table.add_column("Model", overflow="fold")
    for name in (*(group.name for group in suite.groups), "Average"):
        table.add_column(Text(name), justify="right")
    for model, found in figures.items():
        values = [*(found["groups"][group.name] for group in suite.groups), found["average"]]
        table.add_row(Text(model), *(_number(value) for value in values))
    return table


def _number(value: float | str | None) -> str:
    """A figure with two decimals; the card and summary.md say why a group has none."""
    if value is None:
        return ""
    return "failed" if isinstance(value, str) else f"{value:.2f}"
