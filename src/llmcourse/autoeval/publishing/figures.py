"""What is published of a model's results: the metric that counts of each task that did not fail."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.scores import counted_metric, problem_of, scale_in
from llmcourse.autoeval.suite import Suite


@dataclass(frozen=True)
class Figure:
    """`value` of `metric` (with lm-eval's filter), on the scale of the report, with two decimals."""

    metric: str
    value: float
    result: TaskResult


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
