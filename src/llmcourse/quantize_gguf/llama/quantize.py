"""Quantize one GGUF file to one type with `llama_model_quantize`, or say exactly what that would make.

The result is byte for byte that of `llama-quantize` with the same options.  Beyond it: tensors that the
importance matrix lacks, but whose type is garbage without one, get `Q5_K` and are named, where
llama-quantize gives up (llama.cpp#6249, #6552, #23575: layers that calibration does not run, and merges
that have more layers than the model of the matrix); and big results are split.

Settings:
    source: path of the unquantized GGUF file, one file.
    type: name of the type in upper case, without llama-quantize's aliases: `Q4_K_M`.
    name: file name of the result, `model.Q4_K_M.gguf`.
    threads: number of threads.
    imatrix: path of an importance matrix, `.gguf` or `.dat`, or null.
    imatrix_name: what the file's metadata says of it; llama-quantize writes the path as it was given.
    tensor_types: {regular expression: tensor type}; the first that is found in a name decides.
    split: largest number of bytes of tensors in a file, or 0.
    dry_run: compute `result.json` alone.

`result.json`:
    size_bytes, bits_per_weight: of the whole; as llama.cpp counts, weights only for the latter.
    files: [{path, size}], more than one if it is split.
    tensors: how many there are.
    fallbacks: {"Q2_K → Q4_0": tensors}, where rows are no multiple of the block of the type that was meant.
    kept: {type: tensors} of those that are quantized in the source, and stay as they are.
    requires_imatrix: tensors whose type needs an importance matrix; the real run fails without.
    pinned: tensors that get `Q5_K` because the importance matrix lacks them.
    unweighted: tensors that are quantized without weights because the importance matrix lacks them.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError, PlanError, file_error
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.binding import disk_errors, failed, first_few, log
from llmcourse.quantize_gguf.llama.finite import no_numbers, tensor_without_numbers
from llmcourse.quantize_gguf.llama.options import PIN_TYPE, Options
from llmcourse.quantize_gguf.llama.outcome import Outcome, predict
from llmcourse.quantize_gguf.llama.split import split_file

_TENSOR_LINE = re.compile(r"\[ *\d+/ *\d+\] +(\S+)")


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Quantize; yields the file, or its shards.

    Raises:
        PlanError: the disk is full, the importance matrix is of another model, or there is none.
        LibraryError: llama.cpp refused; the sentence quotes its reason.
    """
    options = Options.from_settings(job.settings)
    outcome = predict(options)
    write_json(job.scratch / "result.json", outcome.as_json(options))
    if job.settings["dry_run"]:
        return
    _warn(outcome, progress)
    if outcome.requires_imatrix and not options.imatrix:
        raise PlanError(
            f"{options.type} needs an importance matrix, for {outcome.requires_imatrix[0]} first.",
            "Set imatrix, or choose a type that does without.",
        )
    partial = job.scratch / f"{options.name}.partial"
    with disk_errors(), _removed_on_failure(partial):
        _quantize(options, outcome, partial, progress)
        if len(outcome.groups) > 1:
            yield from split_file(partial, job.files, options.name, outcome.groups, progress)
        else:
            partial.rename(job.files / options.name)
            yield OutputFile.of(job.files, options.name)


def _warn(outcome: Outcome, progress: Progress) -> None:
    for names, what in (
        (outcome.pinned, f"would be garbage without one, so they are kept in {PIN_TYPE}"),
        (outcome.unweighted, "are quantized without weights"),
    ):
        if names:
            progress.note(f"The importance matrix has no entry for {first_few(names, ', ')}; they {what}.")


@contextmanager
def _removed_on_failure(partial: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in (partial, partial.with_name(partial.name + ".shard")):
            path.unlink(missing_ok=True)
        raise


def _quantize(options: Options, outcome: Outcome, path: Path, progress: Progress) -> None:
    path.touch()  # llama.cpp cannot say why a file does not open
    sizes = {tensor.name: tensor.nbytes for tensor in options.source.tensors}
    with progress.step(f"quantize {options.type}", sum(sizes.values()), "B") as step:
        current: list[str] = []

        def hear(text: str) -> None:
            if match := _TENSOR_LINE.match(text):
                if current:
                    step.advance(sizes[current.pop()])
                current.append(match[1])

        with log.heard_by(hear):
            code = options.quantize(path, outcome.pinned)
        if code and "iostream error" in log.reason:
            raise file_error(OSError(errno.ENOSPC, "", str(path)))
        is_invalid = code and "has invalid data" in log.reason
        if is_invalid and (found := tensor_without_numbers(options.source.path)):
            raise no_numbers(found)
        if code:
            raise failed(f"quantize to {options.type}")
        step.advance(sizes[current.pop()])
    size = path.stat().st_size
    if size != outcome.whole_bytes:
        raise LibraryError(
            f"llama.cpp wrote {size:,} bytes of {options.type} instead of {outcome.whole_bytes:,}.",
            "Check the disk; if it is sound, report this with the log.",
        )
