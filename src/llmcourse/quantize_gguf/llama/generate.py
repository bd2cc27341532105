"""Check that a file is of use: load it, read its metadata, let it go on with a prompt.

Settings:
    source: path of the file, or of the first of its shards.
    type: name of the type that the file must say it has, or null.
    prompt: text to go on with.
    tokens: how many tokens to generate, the most likely one each time.
    threads: number of threads.
    weights: path of the unquantized file that it was made from; may be left out.
    has_imatrix: whether it was made with an importance matrix; may be left out.

`result.json`: text, what was generated, without the prompt.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gguf.llama.binding import lib
from llmcourse.quantize_gguf.llama.finite import check_finite
from llmcourse.quantize_gguf.llama.model import Context, Model, opened
from llmcourse.quantize_gguf.llama.options import file_type_number


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Load, check, generate; makes no file but `result.json`.

    Raises:
        LibraryError: the file does not load, is of another type, or computes no numbers.
    """
    settings = job.settings
    path = Path(settings["source"])
    with progress.step(f"try {path.name}"):
        prompt: str = settings["prompt"]
        room = len(prompt.encode()) + 2 + settings["tokens"]
        with opened(path, room, settings["threads"]) as (model, context):
            _check_metadata(model, settings["type"])
            generated = _generate(model, context, prompt, settings)
            text = model.text(generated)
    write_json(job.scratch / "result.json", {"text": text})
    yield from ()


def _check_metadata(model: Model, type_name: str | None) -> None:
    absent = [key for key in ("general.architecture", "tokenizer.ggml.model") if not model.key(key)]
    if absent:
        raise LibraryError(f"{model.path.name} has no {absent[0]} in its metadata.", "Make it again.")
    if type_name and model.key("general.file_type") != str(file_type_number(type_name)):
        name = (lib.llama_ftype_name(int(model.key("general.file_type"))) or b"unknown").decode()
        raise LibraryError(f"{model.path.name} says it is {name}, not {type_name}.", "Make it again.")


def _generate(model: Model, context: Context, prompt: str, settings: dict[str, Any]) -> list[int]:
    tokens, position = model.tokenize(prompt), 0
    generated: list[int] = []
    weights = Path(settings["weights"]) if settings.get("weights") else None
    while len(generated) < settings["tokens"]:
        logits = context.decode(tokens, position, slice(-1, None))
        check_finite(logits, model.path, weights, settings.get("has_imatrix", False))
        position += len(tokens)
        tokens = logits[-1].argmax(keepdims=True).astype("int32")
        if model.ends(int(tokens[0])):
            break
        generated.append(int(tokens[0]))
    return generated
