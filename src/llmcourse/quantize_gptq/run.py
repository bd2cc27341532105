"""The adapter: calibrate, quantize, reload and try, then measure.  What an earlier run finished is kept."""

import os
import sys
import tempfile

from llmcourse.core.machine import usable_cpus

# gptqmodel 7.6.0 wants two workers on the processor and by default has half as many as there are cores.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, (usable_cpus() + 1) // 2)))
# Else torch compiles what unpacks the weights: seconds of C++ for a few windows, in the temporary folder.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from llmcourse.calibration import windows
from llmcourse.core.artifact import OutputFile, whole_pieces
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.rates import record_rates
from llmcourse.core.workspace import share
from llmcourse.quantize_gptq import auto_gptq
from llmcourse.quantize_gptq.activations import check_activations
from llmcourse.quantize_gptq.checkpoint import finish, rounded_modules
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.failures import library_failures
from llmcourse.quantize_gptq.measuring import QUALITY_NAME, Measuring, try_checkpoint
from llmcourse.quantize_gptq.narrow_numbers import multiply_in_32_bits
from llmcourse.quantize_gptq.plan import RATE
from llmcourse.quantize_gptq.quantizing import LayerLoss, Quantized, quantize
from llmcourse.quantize_gptq.ranges import check_ranges

_TELLING_PARAMETERS = 50_000_000  # the time of smaller models is that of their many small steps


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Make the checkpoint if it is not there, and the measurement if it is wanted.

    Raises:
        PlanError: too little text, no memory, a full disk.
        LibraryError: the library failed, or made something that does not run.
    """
    multiply_in_32_bits()
    # For a while gptqmodel keeps all packed weights in the temporary folder, where a kill would leave them.
    temporary = job.scratch / "temporary"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    making = _Making(Config(**job.config), job, progress)
    with library_failures():
        making.check_quality_text()
        if "checkpoint" not in whole_pieces(job.done):
            yield from making.checkpoint()
        yield from making.quality()


class _Making:
    """One run: what is asked for and where things go."""

    def __init__(self, config: Config, job: Job, progress: Progress) -> None:
        self.config = config
        self.job = job
        self.progress = progress
        self.model = Path(job.inputs[config.model])

    @cached_property
    def tokenizer(self) -> Any:
        return AutoTokenizer.from_pretrained(self.model, trust_remote_code=self.config.trust_remote_code)

    @property
    def _rows(self) -> Path:
        """Windows of calibration, int32 of shape (samples, length)."""
        return self.job.scratch / "calibration.npy"

    def checkpoint(self) -> Iterator[OutputFile]:
        """Quantize into the scratch folder, try the result, and only then hand it over."""
        made = self.job.scratch / "made"
        if not made.is_dir():
            partial = made.with_suffix(".partial")
            result = self._quantize(partial)
            finish(partial, self.model, result, self.config)
            partial.rename(made)
        about = {} if self.config.dry_run else self._try(made)
        about |= {"rounded": rounded} if (rounded := rounded_modules(made)) else {}
        names = sorted(path.name for path in made.iterdir())
        for name in names:
            # Not moved: a run that is killed among them finds all of them again.
            share(made / name, self.job.files / name)
            file = OutputFile.of(self.job.files, name, piece="checkpoint", about=about)
            yield replace(file, files_in_piece=len(names))

    def _quantize(self, folder: Path) -> Quantized:
        if not self.config.dry_run:
            files = [self.model / name for name in self.job.settings["weights"]]
            check_ranges(self.config, self.job.settings["dtype"], files, self.progress)
        path = self._rows
        if not path.exists():
            rows = np.array(self._windows(), np.int32)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, rows)
            partial.rename(path)
        rows = np.load(path)
        if not self.config.dry_run:
            window = rows[0].tolist()
            check_activations(self.config, self.job.settings, self.model, window, self.progress)
        if self.config.backend == "auto-gptq":
            settings = self.job.settings | self.config.model_dump()
            log = sys.stderr.buffer  # the log of this process
            found = auto_gptq.quantize(settings, path, self.model, folder, self.progress, log)
            return Quantized([LayerLoss(**loss) for loss in found["losses"]], found["seconds"])
        result = quantize(
            self.config, self.job.settings, self.model, rows, folder, self.job.scratch, self.progress
        )
        self._record_rate(result.seconds, rows.size)
        return result

    def _windows(self) -> list[list[int]]:
        return windows(self.config.calibration, self.job.settings["revision"], self.tokenizer, self.progress)

    def _record_rate(self, seconds: float | None, tokens: int) -> None:
        parameters = self.job.settings["parameters"]
        if seconds and parameters > _TELLING_PARAMETERS:
            rate = seconds / (parameters / 1e9) / (tokens / 1e6)
            record_rates("quantize-gptq", {RATE.format(device=self.job.settings["device"]): round(rate, 1)})

    def _try(self, folder: Path) -> dict[str, Any]:
        return try_checkpoint(
            folder,
            self._rows,
            self.config,
            self.job.settings,
            self.job.scratch / "reading" / "scratch",
            self.progress,
        )

    def check_quality_text(self) -> None:
        """Refuse a text that cannot be measured on before hours are spent on what is to be measured."""
        if self.config.quality and not self.config.dry_run:
            Measuring(self.config, self.job, self.tokenizer, self.progress).windows()

    def quality(self) -> Iterator[OutputFile]:
        """Measure against the unquantized model, unless that is not wanted or was done on this text."""
        if self.config.quality is None or self.config.dry_run:
            return
        measuring = Measuring(self.config, self.job, self.tokenizer, self.progress)
        if measuring.piece in {file.piece for file in self.job.done}:
            return
        figures = measuring.write(self.model, self.job.files)
        yield OutputFile.of(self.job.files, QUALITY_NAME, piece=measuring.piece, about=figures)
