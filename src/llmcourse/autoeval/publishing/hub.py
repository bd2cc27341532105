"""Figures into the model's own repository: a file of ours in `.eval_results`, and the card's model-index."""

from collections.abc import Iterable
from typing import Any

from llmcourse.autoeval.publishing.figures import Figure
from llmcourse.autoeval.publishing.model_index import with_figures
from llmcourse.autoeval.suite import Suite
from llmcourse.core import hub
from llmcourse.core.errors import PublishError

_CARD = "README.md"


def put(place: hub.Place, suite: Suite, figures: Iterable[Figure], source_url: str, evaluator: str) -> str:
    """One commit, or one pull request, with what is new; none where all is there. The address of it.

    `evaluator` is the program and its version, as `lm-eval 0.4.13`.

    `.eval_results` takes only what a benchmark of the Hub asks for; the other figures are in model-index.

    Raises:
        PublishError: the Hub refused, or the card cannot be changed without harm.
    """
    published = list(figures)
    path = f".eval_results/llmcourse-{suite.name}.yaml"
    entries = list(_entries(suite, published, source_url, evaluator))
    results = hub.eval_results_text(entries) if entries else None
    name = place.repo.rpartition("/")[2]
    source = (f"llmcourse {suite.name}", source_url)

    def change(texts: Any) -> dict[str, str | None]:
        card = with_figures(texts[_CARD] or "", name, published, source)
        return {path: results, _CARD: card or None}

    return hub.edit(place, [path, _CARD], change, f"Add results of {suite.name} evaluated by llmcourse")


def _entries(
    suite: Suite, figures: Iterable[Figure], source_url: str, evaluator: str
) -> Iterable[dict[str, Any]]:
    """Fields of huggingface_hub's EvalResultEntry. Without a date, which would make each run a commit."""
    found: dict[str, Any] = {}
    for figure in figures:
        task = figure.result
        if task.dataset and task.dataset not in found:
            with hub.translated(f"datasets/{task.dataset}", PublishError):
                found[task.dataset] = hub.read_benchmark(task.dataset)
        benchmark = found.get(task.dataset)
        task_id = benchmark.task_id(task.dataset_config) if benchmark else None
        if task_id is None:
            continue
        notes = [] if task.fewshot is None else [f"{task.fewshot}-shot"]
        notes += [figure.metric, evaluator, f"{task.task} of {suite.label}"]
        yield {
            "dataset_id": task.dataset,
            "task_id": task_id,
            "value": figure.value,
            "source_url": source_url,
            "source_name": "llmcourse",
            "notes": ", ".join(notes),
        }
