"""From the outcomes of tasks to the figures of groups.  A group with a failed task has no figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import ANY, Group, Suite, Task

Results = Mapping[str, Mapping[str, TaskResult]]  # outcomes by model, as the result names it, and task

# Metrics that are shares of 1, and reported in percent.
_SHARES = frozenset(
    {
        "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em", "f1", "pass@1", "mc1", "mc2",
        "prompt_level_strict_acc", "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc",
        "acc_all", "contains",
    }
)  # fmt: skip


@dataclass(frozen=True)
class GroupScore:
    """A group's figure, scaled as it is reported, or why there is none.

    `is_share` says that it is a percentage of what is possible, more being better.
    """

    name: str
    value: float | None
    failed: str = ""
    is_share: bool = True
    error: float | None = None  # standard error of the value, where every task has one


def scale_of(metric: str) -> float:
    """By what a metric (`acc` or `acc,none`) is multiplied for people."""
    return 100.0 if metric.partition(",")[0] in _SHARES else 1.0


def scale_in(group: Group, metric: str) -> float:
    """By what a metric is multiplied in the group's figure."""
    return group.scale if group.scale is not None else scale_of(metric)


def counted_metric(result: TaskResult, group: Group, task: Task) -> str | None:
    """The key among the result's metrics that counts, None where it has none of those wanted."""
    for wanted in [task.metric] if task.metric else group.metric:
        found = matching(wanted, result)
        if found is not None:
            return found
    return None


def matching(wanted: str, result: TaskResult) -> str | None:
    """The key of a metric that is written with or without its filter.

    Without one it is that of no filter (`none`), else the first: lm-eval lists filters as its task does.
    """
    if wanted in result.metrics:
        return wanted
    if wanted == ANY:
        return next(iter(result.metrics), None)
    keys = [key for key in result.metrics if key.partition(",")[0] == wanted]
    return next((key for key in keys if key.endswith(",none")), keys[0] if keys else None)


def problem_of(result: TaskResult, group: Group, task: Task) -> str:
    """Why a task's outcome has no figure that counts; empty where it has one."""
    if result.error:
        return result.error
    key = counted_metric(result, group, task)
    if key is None:
        wanted = task.metric or " or ".join(group.metric)
        return f"it reports no {wanted}, but {', '.join(result.metrics) or 'nothing'}"
    if not math.isfinite(result.metrics[key]):
        return f"its {key} is {result.metrics[key]}"
    return ""


def scores(suite: Suite, results: Results, model: str) -> list[GroupScore]:
    """The figure of each group of the suite for one model."""
    return [_score(group, results.get(model, {})) for group in suite.groups]


def _score(group: Group, results: Mapping[str, TaskResult]) -> GroupScore:
    values, sizes, shares = [], [], []
    spreads: list[float | None] = []
    for task in group.tasks:
        result = results.get(task.name)
        problem = problem_of(result, group, task) if result else "was not evaluated"
        if result is None or problem:
            return GroupScore(group.name, None, f"{task.name}: {problem}")
        key = counted_metric(result, group, task)
        assert key is not None, "a problem otherwise"
        values.append(result.metrics[key] * scale_in(group, key))
        spread = result.stderr.get(key)
        spreads.append(None if spread is None else spread * scale_in(group, key))
        sizes.append(result.samples if group.average == "size" else 1)
        # A scale that the suite sets itself is one to 100 too (EQ-Bench).
        higher = result.higher_is_better.get(key.partition(",")[0], True)
        shares.append(higher and (group.scale is not None or scale_of(key) == 100))
    mean = sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)
    known = [spread for spread in spreads if spread is not None]
    error = None
    if len(known) == len(values):  # tasks are independent samples
        error = math.hypot(*(one * size for one, size in zip(known, sizes, strict=True))) / sum(sizes)
    return GroupScore(group.name, mean, is_share=all(shares), error=error)


def average(found: Sequence[GroupScore]) -> float | None:
    """The mean of the groups' figures; none where one is missing, or where they are of different kinds."""
    values = [score.value for score in found if score.value is not None]
    if len(values) < len(found) or (len(found) > 1 and not all(score.is_share for score in found)):
        return None
    return sum(values) / len(values)
