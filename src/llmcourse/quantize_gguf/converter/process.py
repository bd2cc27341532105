"""The converter's process: looks at a model, converts it, converts an adapter.

`settings["task"]` of a job says which:

    examine   writes `scratch/skeleton.gguf`, the file to be with a hole for its data; reads no weights.
              `settings["tensors"]` describes the weights where they are not in the folder yet.
    convert   writes `files/<settings["name"]>` and yields it.
    lora      the same for the peft adapter in `inputs["model"]`, made for the model in `inputs["base"]`,
              in the type `settings["outtype"]` ("f32", "f16", "bf16", "q8_0").

`settings["metadata"]` (names of `gguf.Metadata` -> values) replaces what the converter finds or guesses.
The first two take `settings["pre_tokenizer"]` (llama.cpp's name of it, or None) and write
`scratch/result.json`:

    architecture, hf_architecture, outtype ("bf16", …), file_type (llama.cpp's number), name, n_params,
    n_tensors, size_bytes, tokenizer_model, vocab_size, context_length (None if not known),
    has_chat_template, missing_nextn (how many layers that predict further tokens config.json promises and the
    weights lack), card_problem (why the model's README.md was passed over, None where it was read),
    projector ("vision", "audio" or both: what only a projector would hold, None where there is none),
    pre_tokenizer {name, how: "known" | "matched" | "given" | "none", candidates, matches}
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.converter.encoders import use_fast_encoders
from llmcourse.quantize_gguf.converter.gguf_file import write_file, write_skeleton
from llmcourse.quantize_gguf.converter.library import import_converter
from llmcourse.quantize_gguf.converter.lora import convert_lora
from llmcourse.quantize_gguf.converter.model import Prepared, Preparer
from llmcourse.quantize_gguf.converter.refusals import converter_errors
from llmcourse.quantize_gguf.converter.stand_in import make_stand_in

logging.basicConfig(level=logging.INFO)
_CONVERTER = import_converter(Path(os.environ["LLMCOURSE_CONVERTER"]))
use_fast_encoders(_CONVERTER.gguf)
_PREPARER = Preparer(_CONVERTER)


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Do one task; see the module's description.

    Raises:
        PlanError: the model cannot be converted, or there is no room for the result.
    """
    task = {"examine": _examine, "convert": _convert, "lora": _lora}[job.settings["task"]]
    job.scratch.mkdir(parents=True, exist_ok=True)
    yield from task(job, progress)


def _examine(job: Job, progress: Progress) -> Iterator[OutputFile]:
    folder = Path(job.inputs["model"])
    if tensors := job.settings.get("tensors"):
        folder = make_stand_in(folder, tensors, job.scratch / "stand-in")
    with progress.step("examine the model"):
        prepared = _prepared(job, folder)
        facts = _facts(prepared)
        with converter_errors():
            facts["size_bytes"] = write_skeleton(prepared.writer, job.scratch / "skeleton.gguf")
    write_json(job.scratch / "result.json", facts)
    yield from ()


def _convert(job: Job, progress: Progress) -> Iterator[OutputFile]:
    prepared = _prepared(job, Path(job.inputs["model"]))
    facts = _facts(prepared)
    partial = job.scratch / "partial.gguf"
    try:
        with converter_errors():
            file = write_file(prepared.writer, partial, job.settings["name"], progress)
        partial.replace(job.files / file.path)
    finally:
        partial.unlink(missing_ok=True)  # on a full disk its place is needed
    write_json(job.scratch / "result.json", facts | {"size_bytes": file.size})
    yield file


def _lora(job: Job, progress: Progress) -> Iterator[OutputFile]:
    adapter, base = Path(job.inputs["model"]), Path(job.inputs["base"])
    with progress.step("convert the adapter"):
        metadata, outtype = job.settings.get("metadata", {}), job.settings["outtype"]
        partial = convert_lora(_CONVERTER, adapter, base, outtype, metadata, job.scratch)
        partial.replace(job.files / job.settings["name"])
    yield OutputFile.of(job.files, job.settings["name"])


def _prepared(job: Job, folder: Path) -> Prepared:
    metadata, name = job.settings.get("metadata", {}), job.settings.get("pre_tokenizer")
    is_projector = job.settings.get("is_projector", False)
    return _PREPARER.prepare(folder, metadata, name, job.scratch, is_projector)


def _facts(prepared: Prepared) -> dict[str, Any]:
    model, writer = prepared.model, prepared.writer
    entries = {key: entry.value for key, entry in writer.kv_data[0].items()}
    architecture = entries["general.architecture"]
    return {
        "architecture": architecture,
        "hf_architecture": getattr(model, "hf_arch", ""),  # projectors have none
        "outtype": model.ftype.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower(),
        "file_type": int(model.ftype),
        "name": entries["general.name"],
        "n_params": writer.get_total_parameter_count()[0],
        "n_tensors": sum(map(len, writer.tensors)),
        "tokenizer_model": entries.get("tokenizer.ggml.model"),
        "vocab_size": len(entries.get("tokenizer.ggml.tokens", ())),
        "context_length": entries.get(f"{architecture}.context_length"),
        "has_chat_template": "tokenizer.chat_template" in entries,
        "missing_nextn": prepared.nextn.promised if prepared.nextn.is_missing else 0,
        "card_problem": prepared.card_problem,
        "projector": prepared.projector,
        "pre_tokenizer": prepared.pre_tokenizer.as_json(),
    }
