"""The adapter: convert once, then make, try and measure one type after the other.

This process only directs: llama.cpp and its converter run in children of it (`children.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.extras import library_version
from llmcourse.core.isolated import Job
from llmcourse.core.model import expanded
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.adapter import convert_adapter
from llmcourse.quantize_gguf.children import Child, converter, forward, llama
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.converter.source import check_converter, fetch_converter
from llmcourse.quantize_gguf.making import Making, quantize_settings
from llmcourse.quantize_gguf.projector import convert_projector, needs_projector

# The converter that answered the plan's questions goes on with the conversion: it is loaded already.
_loaded: list[Child] = []


def answer(job: Job, progress: Progress) -> dict[str, Any]:
    """What the converter makes of the model, and what llama.cpp would make of that, type by type.

    Raises:
        PlanError: this model cannot be converted, or no pre-tokenizer fits.
        MissingError: the converter is not here and cannot be fetched.
    """
    config = Config(**job.config)
    child = _converter(config, job.scratch, progress)
    inputs = {"model": job.inputs[config.model]}
    forward(child.run({"task": "examine", **job.settings}, job.scratch, inputs), progress)
    found = child.result()
    skeleton = child.scratch / "skeleton.gguf"
    found["tokens"] = _tokens(skeleton, job)
    if config.mmproj:
        settings = {"task": "examine", **job.settings, "is_projector": True}
        place = job.scratch / "projector"
        child.move(place)
        forward(child.run(settings, place, inputs), progress)
        found["projector_bytes"] = child.result()["size_bytes"]
        child.move(job.scratch / "converter")
    with llama("quantize", job.scratch / "sizes") as sizer:
        found["types"] = {name: _size(sizer, name, skeleton, config) for name in config.types}
    return found


def _tokens(skeleton: Path, job: Job) -> dict[str, int]:
    """How many tokens the texts of the config have, by their name as it is written there."""
    texts = {
        name: {"path": str(expanded(name).absolute()), "wanted": text["wanted"]}
        for name, text in job.settings["texts"].items()
    }
    if not texts:
        return {}
    with llama("tokens", job.scratch / "tokens") as counter:
        for _ in counter.run({"source": str(skeleton), "texts": texts}, counter.scratch):
            pass  # counting says nothing and makes nothing
        return counter.result()


def _converter(config: Config, scratch: Path, progress: Progress) -> Child:
    if not _loaded:
        source = _source(config, progress)
        _loaded.append(converter(source, scratch / "converter", config.trust_remote_code))
    _loaded[0].move(scratch / "converter")
    return _loaded[0]


def _source(config: Config, progress: Progress) -> Path:
    if config.converter is None:
        return fetch_converter(str(library_version("llama_cpp")), progress)
    folder = expanded(config.converter).absolute()
    problem = check_converter(folder)
    if problem:
        raise problem
    return folder


def _size(sizer: Child, name: str, skeleton: Path, config: Config) -> dict[str, Any]:
    ready = expanded(config.imatrix.file).absolute() if config.imatrix and config.imatrix.file else None
    settings = quantize_settings(config, name, skeleton, name, ready) | {"dry_run": True}
    for _ in sizer.run(settings, sizer.scratch):
        pass  # a dry run says nothing and makes nothing
    result = sizer.result()
    return {
        "size": result["size_bytes"],
        "bits_per_weight": result["bits_per_weight"],
        "fallbacks": result["fallbacks"],
        "kept": result["kept"],
        "wants_imatrix": bool(result["requires_imatrix"]),
        "without_weights": len(result["unweighted"]) + len(result["pinned"]),
    }


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Make every type that is not there yet; what one type cannot is told when the others are made.

    Raises:
        PlanError: the disk is full, or a text is too short.
        LibraryError: llama.cpp or its converter failed, on one type or on all.
    """
    config = Config(**job.config)
    if job.settings["is_adapter"]:
        yield from convert_adapter(config, job, progress, _source(config, progress))
        return
    if needs_projector(config, job):
        yield from convert_projector(config, job, progress, _converter(config, job.scratch, progress))
    making = Making(config, job, progress)
    if making.needs_source():
        making.convert(lambda: _converter(config, job.scratch, progress))
        yield from making.imatrix()
        yield from making.types()
    yield from making.quality()
