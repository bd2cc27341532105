"""The plot of the report: a bar for each model in each group, with its value and its standard error."""

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

_BAR_INCHES = 0.26
_LONGEST_NAME = 60


def save_plot(
    title: str,
    figures: Mapping[str, Mapping[str, float]],
    errors: Mapping[str, Mapping[str, float]],
    path: Path,
) -> None:
    """Draw percentages by model and group; `errors` are standard errors in the same form, where known."""
    groups = list(dict.fromkeys(group for values in figures.values() for group in values))
    rows = sum(len(values) for values in figures.values())
    height = 1.5 + _BAR_INCHES * rows + 0.2 * len(groups) + 0.2 * len(figures)
    figure = Figure(figsize=(8, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(figures)
    highest = 0.0
    for number, (model, values) in enumerate(figures.items()):
        places = [groups.index(group) + (number - (len(figures) - 1) / 2) * width for group in values]
        spread = [errors.get(model, {}).get(group, math.nan) for group in values]  # NaN draws no line
        name = model if len(model) <= _LONGEST_NAME else f"…{model[1 - _LONGEST_NAME :]}"
        axes.barh(
            places, list(values.values()), width * 0.92, label=name, xerr=spread, ecolor="#444444", capsize=2
        )
        for place, value, error in zip(places, values.values(), spread, strict=True):
            more = 0.0 if math.isnan(error) else error
            axes.text(value + more + 0.6, place, f"{value:.1f}", va="center", fontsize=8)
            highest = max(highest, value + more)
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    axes.set_xlim(0, min(108.0, max(20.0, highest * 1.12)))
    axes.set_xlabel(
        "score [%], more is better" + ("; lines: one standard error" if any(errors.values()) else "")
    )
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(fontsize=8, loc="outside lower left")
    # Without date and version, so that the same figures give the same file.
    figure.savefig(path, metadata={"Software": None})
