"""LoRA adapters as GGUF, for `--lora` of llama.cpp; they are converted, not quantized."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.children import converter, forward
from llmcourse.quantize_gguf.config import Config


def convert_adapter(config: Config, job: Job, progress: Progress, source: Path) -> Iterator[OutputFile]:
    """Write the adapter in each type that is asked for and not there yet.

    Raises:
        PlanError: the converter does not know the base model's architecture, or the disk is full.
    """
    assert config.base, "the plan asks for it"
    inputs = {"model": job.inputs[config.model], "base": job.inputs[config.base]}
    done = {file.piece for file in job.done}
    with converter(source, job.scratch / "converter", config.trust_remote_code) as child:
        for name in job.settings["adapter_types"]:
            if name in done:
                continue
            settings = {
                "task": "lora",
                "outtype": name.lower(),
                "name": job.settings["file_name"].format(type=name),
                "metadata": job.settings["metadata"],
            }
            for file in forward(child.run(settings, job.files, inputs), progress):
                yield replace(file, piece=name, about={"type": name})
