"""Whether lm-eval has the tasks of a suite, and each task the metric that counts."""

from collections.abc import Iterator
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.suite import ANY, Group, Suite, Task
from llmcourse.core.errors import ConfigError, LlmcourseError
from llmcourse.core.plan import Check, Facts, fail, failure, ok, warn


def task_checks(config: Config, suite: Suite, facts: Facts) -> Iterator[Check]:
    """From lm-eval's answers; where it is not here, that nothing is known of its tasks."""
    if isinstance(facts.answers, LlmcourseError):
        yield failure(facts.answers, "lm-eval")
        return
    known: dict[str, Any] = facts.answers.get("tasks", {})
    if config.engine == "runpod" and "lm_eval" not in facts.present:
        yield warn(
            "tasks",
            "Tasks and metrics are not checked, since lm-eval is not on this machine.",
            "To have them checked before a pod is paid for, run: pip install 'llmcourse[eval]'",
        )
    if not known:
        return
    problems = [
        problem
        for group in suite.groups
        for task in group.tasks
        if (problem := _problem(group, task, known[task.name], facts.answers["near"].get(task.name, [])))
    ]
    yield from problems
    if not problems:
        yield ok("tasks", f"all {len(known)} are in lm-eval or ours")


def _problem(group: Group, task: Task, entry: dict[str, Any] | None, near: list[str]) -> Check | None:
    if entry is None:
        like = f"Did you mean {', '.join(near)}?" if near else "See `lm-eval ls tasks` for their names."
        return fail(task.name, f"lm-eval has no task {task.name!r}.", like, ConfigError.exit_code)
    if entry["kind"] == "tag":
        return fail(
            task.name,
            f"{task.name} is a tag of {len(entry['members'])} tasks, which have no figure together.",
            f"Name them, as {entry['members'][0]}.",
            ConfigError.exit_code,
        )
    if entry["fewshot"] == 0 and task.fewshot:
        return fail(
            task.name,
            f"{task.name} has no examples in its prompt, whatever is asked for.",
            f"Set fewshot: 0 for {task.name}, or leave it out.",
            ConfigError.exit_code,
        )
    metrics = entry["metrics"]
    wanted = [task.metric] if task.metric else group.metric
    named = [name for name in wanted if name.partition(",")[0] in metrics] if metrics else wanted
    if metrics and ANY not in wanted and not named:
        return fail(
            task.name,
            f"{task.name} reports no {' or '.join(name.partition(',')[0] for name in wanted)}.",
            f"It has {', '.join(dict.fromkeys(metrics))}: name one as its metric.",
            ConfigError.exit_code,
        )
    return _filter_problem(task, ANY in wanted, named, entry.get("filters"))


def _filter_problem(task: Task, is_any: bool, named: list[str], filters: list[str] | None) -> Check | None:
    """`named` are the metrics that the task has, as `acc` or `exact_match,strict-match`."""
    if not filters or is_any or any(not name.partition(",")[2] for name in named):
        return None
    absent = [name.partition(",")[2] for name in named]
    if not absent or set(absent) & set(filters):
        return None
    return fail(
        task.name,
        f"{task.name} has no filter {' or '.join(absent)}.",
        "It has no filters: name the metric alone."
        if filters == ["none"]
        else f"It has {', '.join(filters)}: name one of them after the comma.",
        ConfigError.exit_code,
    )
