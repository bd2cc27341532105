"""The card of a result: the figures, what they were made with, and how to make them again."""

from typing import Any

import yaml

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.model_checks import names_of
from llmcourse.autoeval.suite import Suite
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata
from llmcourse.core.plan import Facts

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
