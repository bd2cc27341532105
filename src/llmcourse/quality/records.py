"""What was measured, window by window, in files: a run that was killed goes on with the next window.

A window's file is named after its tokens, so that of another text is never taken for it, and gets its
name when it is whole.  The second half of each window is scored, as in llama-perplexity.

Source: tools/perplexity/perplexity.cpp (perplexity, kl_divergence).
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.errors import PlanError
from llmcourse.quality.divergence import Floats, compare, pack
from llmcourse.quality.sizes import row_entries

Tokens = NDArray[np.int32]


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


class Base:
    """The unquantized model's log-probabilities, window by window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, window: Tokens) -> bool:
        return all(_is_whole(_file(self.folder, window, kind)) for kind in ("nll", "rows"))

    def score(self, window: Tokens, logits: Floats, threads: int) -> None:
        """Take logits of shape (scored tokens, vocabulary); row i predicts the token after len/2 + i."""
        rows, nll = pack(logits, _following(window), threads)
        _save(_file(self.folder, window, "rows"), rows)
        _save(_file(self.folder, window, "nll"), nll)

    def result(self, windows: Tokens) -> dict[str, Any]:
        nll = np.concatenate([np.load(_file(self.folder, window, "nll")) for window in windows])
        return _perplexity(nll)


class Comparison:
    """The scores of a quantized model's windows."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base = base
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, window: Tokens) -> bool:
        return _is_whole(_file(self.folder, window, "scores"))

    def score(self, window: Tokens, logits: Floats, threads: int) -> None:
        """Compare logits, shaped as those of `Base.score`, with what is stored.

        Raises:
            PlanError: nothing that fits is stored of this window.
        """
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
