"""What each quantized model of a pipeline takes on disk, and what it costs in quality."""

from collections.abc import Sequence
from io import BytesIO

from matplotlib.figure import Figure

from llmcourse.run.figures import Quantization


def size_against_divergence(measured: Sequence[tuple[str, Quantization]]) -> bytes:
    """An SVG: a line for each step, a named point for each of its models; divergence is logarithmic."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for step in dict.fromkeys(name for name, _ in measured):
        points = sorted((one.size / 1e6, one.kld or 0, one.name) for name, one in measured if name == step)
        axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", label=step)
        for x, y, name in points:
            axes.annotate(name, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.margins(x=0.12)  # room for the names
    axes.set(yscale="log", xlabel="size in MB", ylabel="KL divergence from the original")
    axes.grid(alpha=0.3)
    axes.legend()
    drawn = BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
