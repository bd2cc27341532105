"""Figures into the model's own repository: `.eval_results`, and the card's model-index and a table in it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmcourse.autoeval.publishing.figures import Figure, figures, group_figures, parts_of
from llmcourse.autoeval.publishing.model_index import with_figures
from llmcourse.autoeval.publishing.table import with_table
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import Suite
from llmcourse.core import hub
from llmcourse.core.errors import PublishError

_CARD = "README.md"


def put(
    place: hub.Place,
    suite: Suite,
    results: Mapping[str, TaskResult],
    source_url: str,
    evaluator: str,
    about: Sequence[str] = (),
    results_url: str = "",
) -> dict[str, str]:
    """One commit, or one pull request, with what is new; none where all is there.

    Returns the address of it for each place that has figures: `model-index`, and `eval_results`, which takes
    only what a benchmark of the Hub asks for.

    Args:
        results: outcomes by task.
        evaluator: the program and its version, as `lm-eval 0.4.13`.
        about: sentences on how figures were made.
        results_url: where all figures are, empty where they are not published.

    Raises:
        PublishError: the Hub refused, or the card cannot be changed without harm.
    """
    published, groups = list(figures(suite, results)), group_figures(suite, results)
    path = f".eval_results/llmcourse-{suite.name}.yaml"
    entries = list(_entries(suite, published, source_url, evaluator))
    made = hub.eval_results_text(entries) if entries else None
    name = place.repo.rpartition("/")[2]
    source = (f"llmcourse {suite.name}", source_url)

    def change(texts: Any) -> dict[str, str | None]:
        card = with_figures(texts[_CARD] or "", name, suite, groups, source)
        told = [f"Made by llmcourse with {evaluator}.", *about]
        card = with_table(card, suite, groups, published, told, results_url)
        return {path: made, _CARD: card or None}

    url = hub.edit(place, [path, _CARD], change, f"Add results of {suite.name} evaluated by llmcourse")
    return ({"model-index": url} if groups else {}) | ({"eval_results": url} if entries else {})


def _entries(
    suite: Suite, published: Iterable[Figure], source_url: str, evaluator: str
) -> Iterable[dict[str, Any]]:
    """Fields of huggingface_hub's EvalResultEntry. Without a date, which would make each run a commit.

    Of a group of lm-eval either the whole is what a benchmark asks for (mmlu), or some of its parts are (of
    leaderboard_gpqa the diamond set).
    """
    found: dict[str, Any] = {}

    def task_id_of(task: TaskResult) -> str | None:
        if task.dataset and task.dataset not in found:
            with hub.translated(f"datasets/{task.dataset}", PublishError):
                found[task.dataset] = hub.read_benchmark(task.dataset)
        benchmark = found.get(task.dataset)
        # A group that reads several configs is what a benchmark asks for only if that has one task for all.
        return benchmark.task_id(task.dataset_config) if benchmark else None

    def asked_for(figure: Figure) -> Iterator[tuple[Figure, str]]:
        whole = task_id_of(figure.result)
        parts = [figure] if whole is not None else list(parts_of(figure, suite))
        for part in parts:
            task_id = task_id_of(part.result)
            if task_id is not None:
                yield part, task_id

    for figure, task_id in (pair for whole in published for pair in asked_for(whole)):
        task = figure.result
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
