"""What each type costs: perplexity and KL divergence to the unquantized model, as table and plot."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile, sha256_of
from llmcourse.core.model import expanded
from llmcourse.core.progress import Event
from llmcourse.core.workspace import write_json
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quality.wish import Quality, quality_key
from llmcourse.quantize_gguf.children import llama
from llmcourse.quantize_gguf.naming import PLOT_NAME, QUALITY_NAME, quality_piece
from llmcourse.quantize_gguf.timing import record_run

# What is kept of a measurement, by the names of llama/quality.py.
_FIGURES = ("perplexity", "perplexity_error", "mean_kld", "mean_kld_error", "kld_99", "max_kld", "same_top")
_OF_BASE = ("base_perplexity", "chunks", "context", "tokens")


@dataclass(frozen=True)
class Row:
    """One type: bytes of all its files, bits per weight, figures."""

    type: str
    size: int
    bits_per_weight: float
    quality: dict[str, Any]


@dataclass
class Measuring:
    """The measurement on one text; `folder` keeps the unquantized model's log-probabilities."""

    wish: Quality
    source: Path
    folder: Path
    threads: int
    parameters: int

    @cached_property
    def _text_sha256(self) -> str:
        return sha256_of(expanded(self.wish.text))

    @property
    def key(self) -> str:
        return quality_key(self._text_sha256, self.wish.chunks)

    def piece(self, types: Iterable[str]) -> str:
        return quality_piece(types, self._text_sha256, self.wish.chunks)

    def lacks(self, file: OutputFile) -> bool:
        """Whether this file of a type has not been measured on this text."""
        return bool(file.about.get("quality", {}).get("key") != self.key)

    def base(self) -> Iterator[Event | OutputFile]:
        """Run the unquantized model over the text; windows that were run already are not run again."""
        yield from self._measured("base", "original", self.source)

    def compare(self, name: str, path: Path) -> Iterator[Event | OutputFile]:
        """Run a type over the text; afterwards `figures(name)` has the result."""
        yield from self._measured(name, "compare", path)

    def _measured(self, name: str, rate: str, source: Path) -> Iterator[Event | OutputFile]:
        with llama("quality", self.folder / self.key / name) as child:
            is_anew, begin = not any(child.scratch.iterdir()), time.monotonic()
            task = "base" if rate == "original" else rate
            yield from child.run(self._settings(task, source), child.scratch)
            if is_anew:  # else an earlier run did a part, and the time says nothing
                record_run(rate, time.monotonic() - begin, child.result()["chunks"], self.parameters)

    def figures(self, name: str) -> dict[str, Any]:
        result = self.folder / self.key / name / "scratch" / "result.json"
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        named = {"key": self.key, "text": expanded(self.wish.text).name}
        return named | {figure: found[figure] for figure in (*_FIGURES, *_OF_BASE)}

    def write_tables(self, folder: Path, rows: Sequence[Row]) -> tuple[str, ...]:
        """Write quality.json and the plot of it; returns their names."""
        from llmcourse.quantize_gguf.plot import save_plot  # half a second that only this needs

        of_base = {name: rows[0].quality[name] for name in _OF_BASE}
        types = [asdict(row) | {"quality": {name: row.quality[name] for name in _FIGURES}} for row in rows]
        text = {"name": expanded(self.wish.text).name, "sha256": self._text_sha256}
        write_json(folder / QUALITY_NAME, {"text": text, **of_base, "types": types})
        save_plot(rows, folder / PLOT_NAME)
        return (QUALITY_NAME, PLOT_NAME)

    def _settings(self, task: str, source: Path) -> dict[str, Any]:
        return {
            "task": task,
            "source": str(source),
            "text": str(expanded(self.wish.text).absolute()),
            "chunks": self.wish.chunks,
            "context": CONTEXT,
            "threads": self.threads,
            "base": str(self.folder / self.key / "probabilities"),
        }
