"""Figures in the body of a model's card: a table of the groups and their average, single tasks below it."""

from collections.abc import Iterable, Sequence

from llmcourse.autoeval.publishing.figures import Figure, GroupFigure
from llmcourse.autoeval.suite import Suite
from llmcourse.core.card import cell
from llmcourse.core.marked import with_part


def with_table(
    card: str,
    suite: Suite,
    groups: Sequence[GroupFigure],
    tasks: Iterable[Figure],
    about: Sequence[str],
    results_url: str,
) -> str:
    """The card with the suite's table between markers of its own; as it is where there are no figures.

    Args:
        about: sentences on how figures were made, which stand below the table.
        results_url: where all figures are, empty where they are not published.

    Raises:
        PublishError: the markers in the card are not one pair, or it ends inside a code block.
    """
    if not groups:
        return card
    names = [cell(figure.name) for figure in groups]
    lines = [
        f"## Evaluation: {suite.label}",
        "",
        f"| {' | '.join(names)} |",
        f"|{'---:|' * len(groups)}",
        f"| {' | '.join(f'{figure.value:.2f}' for figure in groups)} |",
        "",
        " ".join([*([f"[All figures]({results_url})."] if results_url else []), *about]),
    ]
    rows = list(_rows(tasks))
    if len(rows) > sum(not figure.is_average for figure in groups):
        lines += ["", "<details><summary>Single tasks</summary>", ""]
        lines += ["| Task | Examples | Metric | Value |", "|---|---:|---|---:|", *rows, "", "</details>"]
    return with_part(card, f"autoeval {suite.name}", f"the table of {suite.name}", "\n".join(lines))


def _rows(tasks: Iterable[Figure]) -> Iterable[str]:
    for figure in tasks:
        result = figure.result
        shots = "" if result.fewshot is None else str(result.fewshot)
        metric = figure.metric.removesuffix(",none")
        yield f"| {cell(result.task)} | {shots} | {cell(metric)} | {figure.value:.2f} |"
