"""The report as users of llm-autoeval know it: a row a model, then a table a group; and the same as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmcourse.autoeval.conditions import conditions, limit_of, losses
from llmcourse.autoeval.config import Runtime
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.scores import GroupScore, Results, average, scale_of, scores
from llmcourse.autoeval.suite import Group, Suite
from llmcourse.core.card import cell
from llmcourse.core.model import is_hub_id

__all__ = ["GroupScore", "as_json", "elapsed", "first_table", "markdown", "scores"]

_LINK = "https://huggingface.co/"
_YALL_GROUPS = 4  # AGIEval, GPT4All, TruthfulQA, Bigbench, and the average after them
# YALL ends with an error at a cell of line 3 that is no number, but leaves out what has LLM AutoEval's words
# for a group that failed.
_PASSED_OVER = "<!-- For YALL, which leaves a file with these words out: Error: File does not exist -->\n"
_LONGEST_REASON = 80  # characters of a failure in a table's cell; all of it is below


def markdown(
    suite: Suite, results: Results, elapsed_s: float, versions: Mapping[str, str], runtime: Runtime
) -> str:
    """The summary.  Its first table begins in line 1: line 3 is the first model's, as YALL reads it."""
    parts = [first_table(suite, results)]
    if not _is_read_by_yall(suite, results):
        parts.append(_PASSED_OVER)
    parts += [f"{sentence}\n" for sentence in conditions(runtime)]
    for model in results:
        if len(results) > 1:
            parts.append(f"## {model}\n")
        parts += [
            _group_section(group, results[model], suite, results, model, runtime) for group in suite.groups
        ]
        mean = average(scores(suite, results, model))
        parts.append(f"Average score: {_average_text(mean, scores(suite, results, model))}\n")
    parts.append(f"Elapsed time: {elapsed(elapsed_s)}\n")
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts.append(f"Suite {suite.label}, {named}.{f' {suite.note}' if suite.note else ''}\n")
    return "\n".join(parts)


def first_table(suite: Suite, results: Results) -> str:
    """Model, a column a group, and the average where there is one."""
    rows = []
    for model in results:
        found = scores(suite, results, model)
        mean = average(found)
        rows.append([_linked(model), *map(_cell, found), "" if mean is None else f"{mean:.2f}"])
    header = ["Model", *(group.name for group in suite.groups), "Average"]
    return _table(header, rows, "l" + "r" * (len(header) - 1))


def _is_read_by_yall(suite: Suite, results: Results) -> bool:
    """Whether line 3 has the five numbers that it takes out of it."""
    return len(suite.groups) == _YALL_GROUPS and all(
        average(scores(suite, results, model)) is not None for model in results
    )


def as_json(
    suite: Suite, results: Results, elapsed_s: float, versions: Mapping[str, str], runtime: Runtime
) -> dict[str, Any]:
    """What the summary says, for programs; a group that failed has its reason under `failed`."""
    models = {}
    for model, own in results.items():
        found = scores(suite, results, model)
        models[model] = {
            "groups": {
                score.name: {"failed": score.failed} if score.failed else {"value": score.value}
                for score in found
            },
            "average": average(found),
            "tasks": {task: _task_json(result) for task, result in own.items()},
        }
    return {
        "suite": suite.model_dump(),
        "runtime": runtime.model_dump(mode="json", exclude_defaults=True),
        "models": models,
        "elapsed_s": round(elapsed_s, 3),
        "versions": dict(versions),
    }


def elapsed(seconds: float) -> str:
    """HH:MM:SS, with as many hours as there were."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _task_json(result: TaskResult) -> dict[str, Any]:
    data = {key: value for key, value in vars(result).items() if value not in ("", (), {}, None)}
    if result.parts:
        data["parts"] = [_task_json(part) for part in result.parts]
    return data


def _group_section(
    group: Group,
    own: Mapping[str, TaskResult],
    suite: Suite,
    results: Results,
    model: str,
    runtime: Runtime,
) -> str:
    score = next(score for score in scores(suite, results, model) if score.name == group.name)
    rows = [row for task in group.tasks if task.name in own for row in _task_rows(own[task.name])]
    table = (
        _table(["Task", "Version", "Metric", "Value", "", "Stderr"], rows, "lrlrlr") + "\n" if rows else ""
    )
    told = [*limit_of(runtime), *losses(own[task.name] for task in group.tasks if task.name in own)]
    lines = "".join(f"{sentence}\n\n" for sentence in told)
    return f"### {group.name}\n{table}{lines}{_group_line(score)}"


def _group_line(score: GroupScore) -> str:
    if score.value is None:
        return f"Failed: {score.failed}\n"
    return f"Average: {score.value:.2f}{'%' if score.is_share else ''}\n"


def _average_text(mean: float | None, found: Sequence[GroupScore]) -> str:
    if mean is not None:
        return f"{mean:.2f}{'%' if all(score.is_share for score in found) else ''}"
    broken = [score.name for score in found if score.failed]
    if broken:
        return f"not available, since {', '.join(broken)} failed"
    return "none, since these figures are of different kinds"


def _task_rows(result: TaskResult, indent: str = "") -> Iterator[list[str]]:
    """A row a metric; the task's name and version are in the first only.  Subtasks of a group follow it."""
    name, version = f"{indent}{result.task}", result.version
    if result.error:
        yield [name, version, "failed", _short(result.error), "", ""]
    for key, value in result.metrics.items():
        scale = scale_of(key)
        stderr = result.stderr.get(key)
        yield [
            name,
            version,
            key.removesuffix(",none"),
            f"{value * scale:.2f}",
            "" if stderr is None else "±",
            "" if stderr is None else f"{stderr * scale:.2f}",
        ]
        name = version = ""
    if not result.metrics and not result.error:
        yield [name, version, "", "", "", ""]
    for part in result.parts:
        yield from _task_rows(part, f"{indent} - ")


def _cell(score: GroupScore) -> str:
    return f"{score.value:.2f}" if score.value is not None else f"failed: {_short(score.failed)}"


def _short(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def _linked(model: str) -> str:
    """The model's name, linked to its page where it is one of the Hub's."""
    repo = model.partition("@")[0]
    model = model.replace("|", "&#124;")  # YALL's reader knows no other way to write it in a cell
    return f"[{repo.rpartition('/')[2]}]({_LINK}{repo})" if is_hub_id(repo) else model


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A Markdown table whose columns line up, also before it is rendered."""
    cells = [[cell(text) for text in header], *([cell(text) for text in row] for row in rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        placed = zip(row, widths, align, strict=True)
        cells = (text.rjust(width) if side == "r" else text.ljust(width) for text, width, side in placed)
        return f"|{'|'.join(cells)}|"

    dashes = [
        "-" * (width - 1) + ":" if side == "r" else "-" * width
        for width, side in zip(widths, align, strict=True)
    ]
    return "\n".join([line(cells[0]), f"|{'|'.join(dashes)}|", *map(line, cells[1:])]) + "\n"
