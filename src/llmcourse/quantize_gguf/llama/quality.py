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

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quality.records import Base, Comparison
from llmcourse.quality.sizes import scored_tokens
from llmcourse.quantize_gguf.llama.binding import disk_errors
from llmcourse.quantize_gguf.llama.finite import check_finite
from llmcourse.quantize_gguf.llama.model import Context, Model, Tokens, opened


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
        measure = Base(base) if is_base else Comparison(base, job.scratch / "scores")
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
    check_finite(logits, model.path)
    return logits
