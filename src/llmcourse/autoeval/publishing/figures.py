"""What is published of a model's results: the metric that counts of each task that did not fail."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.scores import average, counted_metric, problem_of, scale_in, scores
from llmcourse.autoeval.suite import SINGLE_TASKS, Suite


@dataclass(frozen=True)
class Figure:
    """`value` of `metric` (with lm-eval's filter), on the scale of the report, with two decimals."""

    metric: str
    value: float
    result: TaskResult


@dataclass(frozen=True)
class GroupFigure:
    """A group's figure, or with `is_average` the mean of all groups', as people cite it.

    `results` are the outcomes it is made of; `metric` is the one that counts in all of them, else "mean".
    """

    name: str
    value: float
    metric: str
    results: tuple[TaskResult, ...]
    is_average: bool = False


def group_figures(suite: Suite, results: Mapping[str, TaskResult]) -> list[GroupFigure]:
    """Of the groups that have a figure, and the average where it has a meaning."""
    found = scores(suite, {"": results}, "")
    made = []
    for group, score in zip(suite.groups, found, strict=True):
        if score.value is None:
            continue
        own = [(results[task.name], counted_metric(results[task.name], group, task)) for task in group.tasks]
        metrics = {str(metric).partition(",")[0] for _, metric in own}
        metric = metrics.pop() if len(metrics) == 1 else "mean"
        outcomes = tuple(result for result, _ in own)
        made.append(GroupFigure(group.name, round(score.value, 2), metric, outcomes))
    mean = average(found)
    if mean is not None and len(found) > 1 and suite.name != SINGLE_TASKS:
        made.append(GroupFigure("Average", round(mean, 2), "mean", (), is_average=True))
    return made


def parts_of(figure: Figure, suite: Suite) -> Iterator[Figure]:
    """The same metric of the subtasks that a group of lm-eval is made of."""
    for group in suite.groups:
        for task in group.tasks:
            if task.name != figure.result.task:
                continue
            for part in figure.result.parts:
                metric = counted_metric(part, group, task)
                if metric is not None and not problem_of(part, group, task):
                    yield Figure(metric, round(part.metrics[metric] * scale_in(group, metric), 2), part)
            return


def figures(suite: Suite, results: Mapping[str, TaskResult]) -> Iterator[Figure]:
    """Of one model's outcomes by task, in the suite's order; no figure twice where groups share a task."""
    seen = set()
    for group in suite.groups:
        for task in group.tasks:
            result = results.get(task.name)
            if result is None or problem_of(result, group, task):
                continue
            metric = counted_metric(result, group, task)
            if metric is None or (task.name, metric) in seen:
                continue
            seen.add((task.name, metric))
            yield Figure(metric, round(result.metrics[metric] * scale_in(group, metric), 2), result)
