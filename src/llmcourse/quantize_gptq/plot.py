"""The plot in the card: how much each module lost, layer by layer."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llmcourse.quantize_gptq.quantizing import LayerLoss

_MARKERS = "os^vDPX*<>"


def save_plot(losses: Sequence[LayerLoss], path: Path) -> None:
    """Draw the loss of each kind of module [logarithmic] over the layers."""
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    kinds = sorted({loss.module for loss in losses})
    for number, kind in enumerate(kinds):
        own = sorted(
            (loss for loss in losses if loss.module == kind and loss.loss > 0), key=lambda loss: loss.layer
        )
        axes.plot(
            [loss.layer for loss in own],
            [loss.loss for loss in own],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linewidth=1,
            label=kind,
        )
    axes.set_yscale("log")
    axes.set_xlabel("layer")
    axes.set_ylabel("squared error of the layer's output")
    axes.set_title("Less is better: what quantization cost, module by module", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=8, ncols=2)
    # Without date and version, so that the same figures give the same file.
    figure.savefig(path, metadata={"Software": None})
