"""Measure the importance matrix: mean squared activations of each input column of every linear layer.

llama.cpp calls back for each operation of its graph (`cb_eval`), as its own tool llama-imatrix uses it.
Hooks on the original model in torch would see other tensors than those that are quantized (rotated
attention weights, fused projections, experts in one tensor), under other names, and need the model twice.
Experts are counted separately; the sums are kept in 64 bits, so the order of windows leaves no trace.

Settings:
    source: path of the GGUF file that is run, the unquantized one.
    text: path of the calibration text; its name is written into the file as the data set.
    special_tokens: whether special tokens are read from it, as those that a chat template wrote.
    chunks: number of windows at most.
    context: tokens in a window.
    threads: number of threads.
    name: file name of the result.

`result.json`:
    chunks, context, entries: of what was measured.
    never_chosen: {tensor: [experts]} that no token went to; they count as equally important throughout.

The sums so far are saved in the scratch folder now and then, so a run that was killed goes on there.

Source: tools/imatrix/imatrix.cpp (collect_imatrix, compute_imatrix), for which operations count.
"""

import ctypes
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.binding import disk_errors, first_few, lib
from llmcourse.quantize_gguf.llama.imatrix_file import Entry, Imatrix
from llmcourse.quantize_gguf.llama.model import Context, Tokens, opened
from llmcourse.quantize_gguf.llama.tensor import GgmlTensor, array_of, check_layout, op_number

_WORK_PER_SAVE = 20  # times what saving takes, so that it stays unnoticed
_MIN_ROWS = 16  # llama-imatrix leaves smaller products out
_F32 = 0  # enum ggml_type


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Measure and write the file.

    Raises:
        PlanError: the text is too short, or the disk is full.
        LibraryError: the model does not run, or its activations are not finite.
    """
    settings = job.settings
    check_layout()
    collector = Collector()
    path, size, threads = Path(settings["source"]), int(settings["context"]), settings["threads"]
    with disk_errors():
        text = Path(settings["text"])
        with opened(path, size, threads, collector.callback) as (model, context):
            has_special = settings.get("special_tokens", False)
            windows = model.windows(text, size, settings["chunks"], progress, has_special)
            _collect(collector, context, windows, job.scratch / "imatrix-sums.npz", progress)
        result = collector.imatrix(text.name, len(windows), size)
        _report(result, job.scratch, progress)
        partial = job.scratch / f"{settings['name']}.partial"
        result.write(partial)
        partial.rename(job.files / settings["name"])
        yield OutputFile.of(job.files, settings["name"])


def _collect(
    collector: "Collector", context: Context, windows: Tokens, saved: Path, progress: Progress
) -> None:
    key = hashlib.sha256(windows.tobytes()).hexdigest()
    done = collector.load(saved, key)
    saved_at, cost = time.monotonic(), 0.0
    with progress.step("measure the importance matrix", len(windows), "windows") as step:
        step.advance(done)
        for index in range(done, len(windows)):
            # Outputs for every token, or the last layers would see but a few of them.
            context.decode(windows[index], 0, slice(None))
            collector.raise_failure()
            start = time.monotonic()
            if start - saved_at >= cost * _WORK_PER_SAVE or index + 1 == len(windows):
                collector.save(saved, key, index + 1)
                saved_at = time.monotonic()
                cost = saved_at - start
            step.advance()


def _report(result: Imatrix, scratch: Path, progress: Progress) -> None:
    never_chosen = result.never_chosen
    write_json(
        scratch / "result.json",
        {
            "chunks": result.chunk_count,
            "context": result.chunk_size,
            "entries": len(result.entries),
            "never_chosen": never_chosen,
        },
    )
    if never_chosen:
        named = [f"{name} {', '.join(map(str, experts))}" for name, experts in never_chosen.items()]
        progress.note(
            f"No token of the calibration text went to these experts: {first_few(named, '; ')}. "
            "More text may help."
        )


class Collector:
    """Sums of squares and counts by weight tensor, filled by llama.cpp's callback.

    A callback cannot raise through the library, so the first failure is kept for `raise_failure`.
    """

    def __init__(self) -> None:
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.float64]] = {}
        self._failure: Exception | None = None
        self._mul_mat, self._mul_mat_id = op_number("MUL_MAT"), op_number("MUL_MAT_ID")
        self.callback = lib.ggml_backend_sched_eval_callback(self._on_tensor)

    def _on_tensor(self, address: int, is_question: bool, _: Any) -> bool:
        tensor = ctypes.cast(address, ctypes.POINTER(GgmlTensor))[0]
        if is_question:
            return self._is_wanted(tensor)
        try:
            self._add(tensor)
        except Exception as error:
            self._failure = error
        return self._failure is None

    def _is_wanted(self, tensor: Any) -> bool:
        if tensor.op == self._mul_mat_id:
            return True
        if tensor.op != self._mul_mat:
            return False
        inputs = tensor.src[1][0]
        return inputs.ne[1] >= _MIN_ROWS and inputs.type == _F32 and _weight_name(tensor).startswith("blk.")

    def _add(self, tensor: Any) -> None:
        name, weights = _weight_name(tensor), tensor.src[0][0]
        inputs = array_of(tensor.src[1], np.float32)
        if tensor.op == self._mul_mat_id:
            ids = array_of(tensor.src[2], np.int32)[0, 0]
            self._add_experts(name, int(weights.ne[2]), inputs[0], ids)
        else:
            self._add_dense(name, weights, inputs)
        if not np.isfinite(self._sums[name]).all():
            raise LibraryError(
                f"The activations of {name} are not finite.", "Check the model: it does not run as it is."
            )

    def _add_dense(self, name: str, weights: Any, inputs: NDArray[np.float32]) -> None:
        """`inputs` of shape (n3, n2, rows, columns); a stack of matrices gets the slices in turn."""
        n3, n2, columns = inputs.shape[0], inputs.shape[1], inputs.shape[3]
        matrices = int(weights.ne[2] * weights.ne[3])
        sums, counts = self._entry(name, (1, matrices * columns))
        parts = sums.reshape(matrices, columns)
        for i3, i2 in np.ndindex(n3, n2):
            matrix = (i3 % weights.ne[3]) * weights.ne[2] + i2 % weights.ne[2]
            parts[matrix] += _squares(inputs[i3, i2])
        counts += n3 * n2 * inputs.shape[2] // matrices

    def _add_experts(
        self, name: str, experts: int, inputs: NDArray[np.float32], ids: NDArray[np.int32]
    ) -> None:
        """`inputs` of shape (tokens, 1 or chosen, columns); `ids` of shape (tokens, chosen)."""
        sums, counts = self._entry(name, (experts, inputs.shape[2]))
        for expert in np.unique(ids):
            tokens, slots = np.nonzero(ids == expert)
            sums[expert] += _squares(inputs[tokens, slots % inputs.shape[1]])
            counts[expert] += len(tokens)

    def _entry(self, name: str, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if name not in self._sums:
            self._sums[name] = np.zeros(shape)
            self._counts[name] = np.zeros(shape[0])
        return self._sums[name], self._counts[name]

    def raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def save(self, path: Path, key: str, done: int) -> None:
        """Keep the sums of the first `done` windows; the file is whole or not there."""
        partial = path.with_name(path.name + ".partial")
        arrays = {f"sums {name}": sums for name, sums in self._sums.items()}
        arrays |= {f"counts {name}": counts for name, counts in self._counts.items()}
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, key=np.array(key), done=np.array(done), **arrays)
        partial.rename(path)

    def load(self, path: Path, key: str) -> int:
        """Take up what `save` kept of the same windows; returns how many are done."""
        if not path.is_file():
            return 0
        try:
            with np.load(path) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, BadZipFile):
            return 0  # a machine that died may have left a file without its end
        if str(arrays["key"]) != key:
            return 0
        for item, array in arrays.items():
            kind, _, name = item.partition(" ")
            if kind in ("sums", "counts"):
                (self._sums if kind == "sums" else self._counts)[name] = array
        return int(arrays["done"])

    def imatrix(self, dataset: str, chunks: int, context: int) -> Imatrix:
        entries = {
            name: Entry(sums.astype(np.float32), self._counts[name].astype(np.float32))
            for name, sums in self._sums.items()
        }
        return Imatrix(entries, (dataset,), chunks, context)


def _squares(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("ij,ij->j", rows, rows).astype(np.float64)
    return squares


def _weight_name(tensor: Any) -> str:
    """The weights' name without what a backend puts around it (`CUDA0#blk.0.attn_k.weight#0`)."""
    name: str = tensor.src[0][0].name.decode()
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name
