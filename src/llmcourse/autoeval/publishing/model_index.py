"""Figures in the head of a model's card, as the Hub's `model-index`: ours are replaced, others' stay."""

from collections.abc import Iterable
from typing import Any

from llmcourse.autoeval.publishing.figures import GroupFigure
from llmcourse.autoeval.publishing.head import read_head, with_key
from llmcourse.autoeval.results import slug
from llmcourse.autoeval.suite import SINGLE_TASKS, Suite
from llmcourse.core.errors import PublishError

_KEY = "model-index"
# How the Hub's pages call the usual metrics.
_METRIC_NAMES = {"acc": "accuracy", "acc_norm": "normalized accuracy", "exact_match": "exact match"}


def with_figures(
    card: str, model: str, suite: Suite, figures: Iterable[GroupFigure], source: tuple[str, str]
) -> str:
    """The card with the figures of `model`, a repository's own name, in place of those of the same source.

    Args:
        source: the name and the address of where figures are from; by the name we know ours again.

    Raises:
        PublishError: the card's head cannot be read, or not be changed safely.
    """
    present = read_head(card).get(_KEY) or []
    if not isinstance(present, list) or not all(isinstance(item, dict) for item in present):
        raise PublishError(
            "model-index of the card is no list of models.", "Correct the card on the Hub first.", "README.md"
        )
    models = [dict(item) for item in present]
    own = next((item for item in models if item.get("name") == model), None)
    if own is None and len(models) == 1:
        own = models[0]  # a card is of one model, whatever it is called there
    if own is None:
        own = {"name": model}
        models.append(own)
    kept = [item for item in own.get("results") or [] if not _is_of(item, source[0])]
    own["results"] = kept + [_result(suite, figure, source) for figure in figures]
    return with_key(card, _KEY, [item for item in models if item["results"]])


def _is_of(result: Any, source: str) -> bool:
    told = result.get("source") if isinstance(result, dict) else None
    return isinstance(told, dict) and told.get("name") == source


def _result(suite: Suite, figure: GroupFigure, source: tuple[str, str]) -> dict[str, Any]:
    """Keys as modelcard.md of huggingface/hub-docs has them; the data set's id and name are required."""
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": _dataset(suite, figure),
        "metrics": [
            {
                "type": figure.metric,
                "value": figure.value,
                "name": "average" if figure.is_average else _METRIC_NAMES.get(figure.metric, figure.metric),
            },
        ],
        "source": {"name": source[0], "url": source[1]},
    }


def _dataset(suite: Suite, figure: GroupFigure) -> dict[str, Any]:
    """The data set where the figure is of one; else the suite's group, which has an id of ours."""
    if figure.is_average:
        return {"type": suite.name, "name": suite.label}
    if len(figure.results) > 1:
        name = f"{figure.name}, {len(figure.results)} tasks of {suite.label}"
        return {"type": slug(f"{suite.name}-{figure.name}").lower(), "name": name}
    (task,) = figure.results
    shots = "" if task.fewshot is None else f" ({task.fewshot}-shot)"
    name = task.task if suite.name == SINGLE_TASKS else figure.name
    dataset: dict[str, Any] = {"type": task.dataset or task.task, "name": f"{name}{shots}"}
    dataset |= {"config": task.dataset_config} if task.dataset_config else {}
    dataset |= {"split": task.split} if task.split else {}
    return dataset | ({} if task.fewshot is None else {"args": {"num_few_shot": task.fewshot}})
