"""Perplexity of a model, and how far a quantized one is from the unquantized, on held-out text.

The unquantized model runs once; its log-probabilities go to disk, one file per window, and every type is
compared with them window by window.  Finished windows are files that got their name when they were whole,
so a run that was killed goes on with the next one.  Figures equal those of `llama-perplexity` with
`--kl-divergence` and one window per batch.

Settings:
    task: "base" for the unquantized model, "compare" for a quantized one.
    source: path of the GGUF file, or of the first of its shards.
    text: path of the held-out text.
    chunks: number of windows at most.
    context: tokens in a window; the second half of each is scored.
    threads: number of threads.
    base: folder of the unquantized model's windows; "base" fills it, "compare" reads it.

`result.json` of "base": perplexity, perplexity_error, chunks, context, tokens (those that were scored).
`result.json` of "compare": the same and base_perplexity, mean_kld, mean_kld_error, kld_99 (99th percentile),
    max_kld, all in nats, and same_top, the fraction of tokens at which both hold the same one likeliest.

Source: tools/perplexity/perplexity.cpp (perplexity, kl_divergence).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.binding import disk_errors
from llmcourse.quantize_gguf.llama.divergence import compare, pack
from llmcourse.quantize_gguf.llama.model import Context, Model, Tokens, check_finite, opened
from llmcourse.quantize_gguf.llama.sizes import row_entries, scored_tokens


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Measure; makes no file but those in `base` and the scratch folder.

    Raises:
        PlanError: the text is too short, the disk is full, or `base` is of another text or vocabulary.
        LibraryError: the model does not run.
    """
    settings = job.settings
    path, context_size = Path(settings["source"]), int(settings["context"])
    base = Path(settings["base"])
    with disk_errors(), opened(path, context_size, settings["threads"]) as (model, context):
        windows = model.windows(Path(settings["text"]), context_size, settings["chunks"], progress)
        is_base = settings["task"] == "base"
        measure = _Base(base) if is_base else _Comparison(base, job.scratch / "scores")
        with progress.step(f"measure {path.name}", len(windows), "windows") as step:
            for window in windows:
                if not measure.has(window):
                    measure.score(window, _scored_logits(context, model, window), settings["threads"])
                step.advance()
        result = measure.result(windows) | {"chunks": len(windows), "context": context_size}
    write_json(job.scratch / "result.json", result)
    yield from ()


def _scored_logits(context: Context, model: Model, window: Tokens) -> Any:
    """Logits of shape (scored tokens, vocabulary); row i predicts the token after position len/2 + i."""
    first = len(window) // 2
    logits = context.decode(window, 0, slice(first, None))[: scored_tokens(len(window))]
    check_finite(logits, model.path.name)
    return logits


def _following(window: Tokens) -> Tokens:
    return window[len(window) // 2 + 1 :]


def _file(folder: Path, window: Tokens, kind: str) -> Path:
    """A window's file is named after its tokens, so that of another text is never taken for it."""
    return folder / f"{hashlib.sha256(window.tobytes()).hexdigest()[:32]}.{kind}.npy"


def _is_whole(path: Path) -> bool:
    """Whether the array is there; a machine that died may have left a file without its end."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


class _Base:
    """The unquantized model's log-probabilities, window by window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, window: Tokens) -> bool:
        return all(_is_whole(_file(self.folder, window, kind)) for kind in ("nll", "rows"))

    def score(self, window: Tokens, logits: Any, threads: int) -> None:
        rows, nll = pack(logits, _following(window), threads)
        _save(_file(self.folder, window, "rows"), rows)
        _save(_file(self.folder, window, "nll"), nll)

    def result(self, windows: Tokens) -> dict[str, Any]:
        nll = np.concatenate([np.load(_file(self.folder, window, "nll")) for window in windows])
        return _perplexity(nll)


class _Comparison:
    """The scores of a quantized model's windows."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base = base
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, window: Tokens) -> bool:
        return _is_whole(_file(self.folder, window, "scores"))

    def score(self, window: Tokens, logits: Any, threads: int) -> None:
        path = _file(self.base, window, "rows")
        stored = np.load(path, mmap_mode="r") if path.exists() else None
        if stored is None or stored.shape != (len(logits), row_entries(logits.shape[1])):
            raise PlanError(
                "What is stored of the unquantized model is of another text or vocabulary.",
                "Measure the unquantized model on the same text first.",
            )
        scores = compare(logits, stored, _following(window), threads)
        _save(_file(self.folder, window, "scores"), scores)

    def result(self, windows: Tokens) -> dict[str, Any]:
        scores = np.concatenate([np.load(_file(self.folder, window, "scores")) for window in windows])
        kld = scores["kld"]
        return _perplexity(scores["nll"]) | {
            "base_perplexity": float(np.exp(scores["base_nll"].mean())),
            "mean_kld": float(kld.mean()),
            "mean_kld_error": _error(kld),
            "kld_99": float(np.percentile(kld, 99)),
            "max_kld": float(kld.max()),
            "same_top": float(scores["same_top"].mean()),
        }


def _save(path: Path, array: NDArray[Any]) -> None:
    """The file gets its name when it is whole."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, array)
    partial.rename(path)


def _perplexity(nll: NDArray[np.float64]) -> dict[str, Any]:
    perplexity = float(np.exp(nll.mean()))
    return {"perplexity": perplexity, "perplexity_error": perplexity * _error(nll), "tokens": len(nll)}


def _error(values: NDArray[np.float64]) -> float:
    """Standard error of the mean."""
    return float(values.std() / np.sqrt(len(values) - 1))
