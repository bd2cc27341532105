"""Reload what was made, let it go on with a prompt, and measure how far it is from the original."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gptqmodel import BACKEND, GPTQModel
from gptqmodel.nn_modules.qlinear.torch import TorchLinear
from transformers import AutoModelForCausalLM

from llmcourse.core.artifact import OutputFile, sha256_of
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.machine import this_machine, usable_cpus
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quality.records import Base, Comparison, Tokens
from llmcourse.quality.sizes import CONTEXT, scored_tokens
from llmcourse.quality.text import read_text
from llmcourse.quality.wish import quality_key
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.failures import refuse_nan, too_short
from llmcourse.quantize_gptq.reading import RESULT_NAME

QUALITY_NAME = "quality.json"
_WINDOW = 128  # tokens on which loaders are compared
_UNPACKED_SHARE = 0.25  # of free memory, for weights in 16 bits beside the packed ones


def try_checkpoint(
    folder: Path, rows: Path, config: Config, settings: dict[str, Any], scratch: Path, progress: Progress
) -> dict[str, Any]:
    """Read the checkpoint in a fresh process with each loader that a card may name.

    `rows` is the file of calibration windows, `scratch` a folder of this trial alone.  Returns what
    `reading.run` found, without what is empty; a loader that fails is reported at once.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    window = np.load(rows, mmap_mode="r")[0][:_WINDOW].tolist()
    told = {
        "device": settings["device"],
        "window": window,
        "trust_remote_code": config.trust_remote_code,
    }
    scratch.mkdir(parents=True, exist_ok=True)
    worker = Worker("llmcourse.quantize_gptq.reading", sys.stderr.buffer, is_verbose=True, loading=None)
    try:
        for event in worker.run(Job({}, told, {}, folder, scratch)):
            assert not isinstance(event, OutputFile), "it makes none"
            progress.emit(event)
    finally:
        worker.stop()
    found: dict[str, Any] = json.loads((scratch / RESULT_NAME).read_text(encoding="utf-8"))
    for loader, problem in found["problems"].items():
        if problem:
            progress.note(
                f"{loader} does not read this checkpoint rightly: {problem}. The card does not name it."
            )
    return found


def load_quantized(folder: Path, config: Config, settings: dict[str, Any]) -> Any:
    """The checkpoint in `folder`, read as its users read it."""
    # On the processor gptqmodel would choose a kernel that does not read whole rows as groups.
    is_plain = settings["device"] == "cpu" and config.method != "awq"
    model = GPTQModel.load(
        str(folder),
        device=settings["device"],
        backend=BACKEND.GPTQ_TORCH if is_plain else BACKEND.AUTO,
        trust_remote_code=config.trust_remote_code,
    ).model.eval()
    if is_plain and 2 * settings["parameters"] < this_machine().memory_bytes * _UNPACKED_SHARE:
        for module in model.modules():
            if isinstance(module, TorchLinear):
                module.enable_weight_cache()  # else each pass takes all weights out of their packing anew
    return model


class Measuring:
    """Perplexity of both models and the divergence between them, window by window."""

    def __init__(self, config: Config, job: Job, tokenizer: Any, progress: Progress) -> None:
        assert config.quality
        self.config = config
        self.wish = config.quality
        self.settings = job.settings
        self.tokenizer = tokenizer
        self.progress = progress
        self.text_sha256 = sha256_of(self.wish.path)
        self.key = quality_key(self.text_sha256, self.wish.chunks)
        self.folder = job.scratch / "quality" / self.key

    @property
    def piece(self) -> str:
        return f"quality:{self.key}"

    def write(self, model: Path, checkpoint: Path) -> dict[str, Any]:
        """Measure the checkpoint against `model`; writes quality.json beside it, and returns what it says."""
        windows = self.windows()
        base = Base(self.folder / "base")
        self._score("measure the original", base, windows, partial(self._original, model))
        comparison = Comparison(self.folder / "base", self.folder / "scores")
        load = partial(load_quantized, checkpoint, self.config, self.settings)
        self._score("measure the result", comparison, windows, load)
        text = {"text": self.wish.path.name, "text_sha256": self.text_sha256}
        found = {**text, "chunks": len(windows), "context": CONTEXT, **comparison.result(windows)}
        write_json(checkpoint / QUALITY_NAME, found)
        return found

    def windows(self) -> Tokens:
        """Windows of shape (chunks, 512); each begins as the model's texts do.

        Raises:
            PlanError: the text is too short, or no text.
        """
        text = read_text(self.wish)
        ids = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        count = min(len(ids) // CONTEXT, self.wish.chunks)
        if count == 0:
            raise too_short(len(ids), CONTEXT, self.wish.path.name)
        windows = np.array(ids[: count * CONTEXT], np.int32).reshape(count, CONTEXT)
        start = self.tokenizer("a")["input_ids"][0]
        if start == self.tokenizer.bos_token_id:
            windows[:, 0] = start
        return windows

    def _score(self, name: str, records: Base | Comparison, windows: Tokens, load: Callable[[], Any]) -> None:
        left = [window for window in windows if not records.has(window)]
        with self.progress.step(name, len(windows), "windows") as step, torch.inference_mode():
            step.advance(len(windows) - len(left))
            if not left:
                return
            with _loaded(load) as model:
                for window in left:
                    ids = torch.from_numpy(window.astype(np.int64))[None].to(self.settings["device"])
                    first = CONTEXT // 2
                    logits = model(input_ids=ids).logits[0, first : first + scored_tokens(CONTEXT)]
                    refuse_nan(bool(torch.isfinite(logits).all()), name.removeprefix("measure ").capitalize())
                    records.score(window, logits.float().cpu().numpy(), usable_cpus())
                    step.advance()

    def _original(self, folder: Path) -> Any:
        # On the processor 16 bits are slower than 32, and less exact.
        dtype = torch.float32 if self.settings["device"] == "cpu" else getattr(torch, self.settings["dtype"])
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=self.config.trust_remote_code
        ).to(self.settings["device"])


@contextmanager
def _loaded(load: Callable[[], Any]) -> Iterator[Any]:
    """One model at a time: what it took is given back before the next is loaded."""
    model = load().eval()
    try:
        yield model
    finally:
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
