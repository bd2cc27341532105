"""How many tokens of a model texts have; the file needs nothing but a vocabulary.

Settings:
    source: path of the GGUF file.
    texts: {name: path}.

`result.json`: {name: number of tokens}.
"""

from collections.abc import Iterator
from pathlib import Path

from llmcourse.core.artifact import OutputFile
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.model import Model, read_text


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Count; makes no file but `result.json`.

    Raises:
        PlanError: a file is no text.
    """
    model = Model(Path(job.settings["source"]), vocab_only=True)
    texts = {name: read_text(Path(path)) for name, path in job.settings["texts"].items()}
    write_json(job.scratch / "result.json", {name: len(model.tokenize(text)) for name, text in texts.items()})
    model.close()
    yield from ()
