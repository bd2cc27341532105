"""The plot in the card: what each type costs in quality for its size."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from llmcourse.quantize_gguf.quality import Row

_LEAST = 1e-6  # a file that equals the original has no place on a logarithmic scale


def save_plot(rows: Sequence[Row], path: Path) -> None:
    """Draw size [GB or MB] against mean KL divergence [nats, logarithmic], one labelled point a type."""
    unit, divisor = ("GB", 1e9) if rows[-1].size > 1e9 else ("MB", 1e6)
    sizes = [row.size / divisor for row in rows]
    costs = [max(row.quality["mean_kld"], _LEAST) for row in rows]
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, costs, color="#c9b458", linewidth=1, zorder=1)
    axes.scatter(sizes, costs, s=36, color="#b8860b", zorder=2)
    for row, size, cost in zip(rows, sizes, costs, strict=True):
        axes.annotate(row.type, (size, cost), textcoords="offset points", xytext=(6, 5), fontsize=9)
    axes.set_yscale("log")
    axes.set_xlabel(f"size of the file [{unit}]")
    axes.set_ylabel("mean KL divergence to the original [nats]")
    axes.set_title("Less is better: smaller to the left, nearer to the original at the bottom", fontsize=10)
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.margins(x=0.1, y=0.15)
    # Without date and version, so that the same figures give the same file.
    figure.savefig(path, metadata={"Software": None})
