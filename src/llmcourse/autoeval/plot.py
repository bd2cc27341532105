"""The plot of the report: a radar of the groups, or bars where there are too few of them."""

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

_LEAST_CORNERS = 3


def save_plot(figures: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw percentages by model and group."""
    groups = list(dict.fromkeys(group for values in figures.values() for group in values))
    figure = Figure(figsize=(7, 5.5), dpi=120, layout="constrained")
    whole = {model: values for model, values in figures.items() if len(values) == len(groups)}
    if len(groups) >= _LEAST_CORNERS and whole == dict(figures):
        _radar(figure, whole, groups)
    else:
        _bars(figure, figures, groups)
    # Without date and version, so that the same figures give the same file.
    figure.savefig(path, metadata={"Software": None})


def _radar(figure: Figure, figures: Mapping[str, Mapping[str, float]], groups: list[str]) -> None:
    axes = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * place / len(groups) for place in range(len(groups))]
    for model, values in figures.items():
        around = [values[group] for group in groups]
        axes.plot([*angles, angles[0]], [*around, around[0]], linewidth=1.5, label=model)
        axes.fill(angles, around, alpha=0.08)
    axes.set_xticks(angles, groups)
    axes.set_ylim(0, min(100, 10 * math.ceil(_highest(figures) / 10)))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.05, 1))


def _bars(figure: Figure, figures: Mapping[str, Mapping[str, float]], groups: list[str]) -> None:
    axes = figure.add_subplot()
    width = 0.8 / len(figures)
    for number, (model, values) in enumerate(figures.items()):
        places = [place for place, group in enumerate(groups) if group in values]
        heights = [values[groups[place]] for place in places]
        axes.bar([place + number * width for place in places], heights, width, label=model)
    axes.set_xticks([place + (len(figures) - 1) * width / 2 for place in range(len(groups))], groups)
    axes.set_ylim(0, min(100, 10 * math.ceil(_highest(figures) / 10 + 0.5)))
    axes.set_ylabel("%")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)


def _highest(figures: Mapping[str, Mapping[str, float]]) -> float:
    return max(10.0, *(value for values in figures.values() for value in values.values()))
