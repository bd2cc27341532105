"""What each result costs: perplexity and KL divergence to the unquantized model, both run by exllamav2.

The environment's process writes logits window by window; they are scored here and deleted.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.environments import TiedProcess
from llmcourse.core.errors import PlanError
from llmcourse.core.isolated import Job
from llmcourse.core.machine import usable_cpus
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quality.records import Base, Comparison
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quality.wish import Quality
from llmcourse.quantize_exl2.converter import Converter
from llmcourse.quantize_exl2.failures import failure_of, is_telling

_WAIT_S = 0.01


@dataclass
class Measuring:
    """The measurement on one text; `folder` keeps the unquantized model's log-probabilities."""

    wish: Quality
    converter: Converter
    folder: Path
    progress: Progress

    def base(self, model: Path) -> None:
        """Run the unquantized model over the text."""
        record = Base(self.folder / "base")
        self._run("original", model, record.score)

    def compare(self, name: str, model: Path) -> dict[str, Any]:
        """Run a result over the text; its figures."""
        record = Comparison(self.folder / "base", self.folder / name)
        windows = self._run(name, model, record.score)
        return record.result(windows) | {"chunks": len(windows), "context": CONTEXT}

    def _run(self, name: str, model: Path, score: Callable[..., None]) -> NDArray[np.int32]:
        folder = self.folder / f"{name}-logits"
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(parents=True)
        job = {"model": str(model), "text": str(self.wish.path), "chunks": self.wish.chunks,
               "context": CONTEXT, "folder": str(folder)}  # fmt: skip
        write_json(folder / "job.json", job)
        with (folder / "log.txt").open("wb") as log:
            process = self.converter.environment.start(
                ["logits", str(folder / "job.json")], environment=self.converter.variables,
                stdout=log, stderr=log,
            )  # fmt: skip
            with process:
                try:
                    windows = self._scored(name, folder, process, score)
                    code = process.wait()
                finally:
                    process.kill()
        text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        sys.stderr.write(text)
        if windows is None or code:
            telling = [line.strip() for line in text.splitlines() if is_telling(line)]
            raise failure_of(f"quality of {name}", code, telling, f"it ended with {code}")
        shutil.rmtree(folder)
        return windows

    def _scored(
        self, name: str, folder: Path, process: TiedProcess, score: Callable[..., None]
    ) -> NDArray[np.int32] | None:
        """Score each window as it comes; None if the process ended before the last."""
        windows = next(self._arrays(folder, process, ["tokens.npy"]), None)
        if windows is None:
            return None
        if not len(windows):
            raise PlanError(
                f"{self.wish.path.name} has fewer than {CONTEXT} tokens, so nothing can be measured on it.",
                "Give a longer text.",
                where="quality",
            )
        names = [f"window-{number}.npy" for number in range(len(windows))]
        with self.progress.step(f"quality of {name}", len(windows), "windows") as step:
            for window, logits in zip(windows, self._arrays(folder, process, names), strict=False):
                score(window, logits, usable_cpus())
                step.advance()
        return windows if step.done == len(windows) else None

    def _arrays(self, folder: Path, process: TiedProcess, names: list[str]) -> Iterator[NDArray[Any]]:
        """The arrays of these names as they are written, each deleted once it was read."""
        for name in names:
            path = folder / name
            while not path.exists():
                if process.poll() is not None and not path.exists():
                    return
                time.sleep(_WAIT_S)
            array = np.load(path)
            path.unlink()
            yield array


def write_table(job: Job, wish: Quality, sha256: str, figures: dict[str, dict[str, Any]], name: str) -> None:
    """All figures, by the name of the result, into the file `name`."""
    text = {"name": wish.path.name, "sha256": sha256}
    (job.files / name).write_text(json.dumps({"text": text, "results": figures}, indent=2) + "\n")
