"""The projector of a vision or audio model: a file beside the language model, as `--mmproj` makes it."""

from collections.abc import Iterator
from dataclasses import replace

from llmcourse.core.artifact import OutputFile, whole_pieces
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.children import Child, forward
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.naming import PROJECTOR_PIECE


def needs_projector(config: Config, job: Job) -> bool:
    """Whether it is asked for and not there yet."""
    return config.mmproj and PROJECTOR_PIECE not in whole_pieces(job.done)


def convert_projector(config: Config, job: Job, progress: Progress, child: Child) -> Iterator[OutputFile]:
    """Write it with the converter's process, in the precision of the weights.

    Raises:
        PlanError: the converter knows no projector of this model, or the disk is full.
    """
    settings = {
        "task": "convert",
        "name": job.settings["projector_name"],
        "metadata": job.settings["metadata"],
        "is_projector": True,
    }
    inputs = {"model": job.inputs[config.model]}
    for file in forward(child.run(settings, job.files, inputs), progress):
        about = {"projector": child.result()["outtype"].upper()}
        yield replace(file, piece=PROJECTOR_PIECE, about=about)
