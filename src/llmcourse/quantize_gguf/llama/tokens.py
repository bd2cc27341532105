"""Whether texts have as many tokens of a model as are wanted; the file needs nothing but a vocabulary.

Settings:
    source: path of the GGUF file.
    texts: {name: {path, wanted}}.

`result.json`: {name: number of tokens}, which may stop counting behind those that are wanted.
"""

from collections.abc import Iterator
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.model import Model


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Count; makes no file but `result.json`.

    Raises:
        PlanError: a file is no text.
    """
    model = Model(Path(job.settings["source"]), vocab_only=True)
    counts = {
        name: len(model.first_tokens(Path(text["path"]), text["wanted"]))
        for name, text in job.settings["texts"].items()
    }
    write_json(job.scratch / "result.json", counts)
    model.close()
    yield from ()
