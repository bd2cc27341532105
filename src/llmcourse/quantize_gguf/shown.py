"""The table of types on the terminal, when all is made."""

from typing import TYPE_CHECKING

from llmcourse.core.artifact import Artifact
from llmcourse.core.human import human_bytes
from llmcourse.quantize_gguf.advice import fallback_words

if TYPE_CHECKING:
    from rich.console import RenderableType

_FIGURES = (("perplexity", "{:.4f}"), ("mean_kld", "{:.4f}"), ("same_top", "{:.1%}"))


def types_table(artifact: Artifact) -> "RenderableType | None":
    """A line for each type, from the smallest to the largest; None where there is none, as of an adapter."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = {file.piece: file.about for file in artifact.files if "bits_per_weight" in file.about}
    if not made:
        return None
    sizes = {name: sum(file.size for file in artifact.files if file.piece == name) for name in made}
    changed = {name: about["fallbacks"] for name, about in made.items() if about.get("fallbacks")}
    notes = [f"{name}: a larger type for {fallback_words(found)}" for name, found in changed.items()]
    is_measured = any("quality" in about for about in made.values())
    table = Table()
    table.add_column("Type", no_wrap=True)
    for title in ("Size", "Bits", *(("Perplexity", "KL div.", "Same top") if is_measured else ())):
        table.add_column(title, justify="right", no_wrap=True)
    for name in sorted(made, key=lambda name: sizes[name]):
        quality = made[name].get("quality")
        figures = [form.format(quality[key]) if quality else "" for key, form in _FIGURES]
        bits = f"{made[name]['bits_per_weight']:.2f}"
        table.add_row(name, human_bytes(sizes[name]), bits, *(figures if is_measured else ()))
    return Group(table, *map(Text, notes))
