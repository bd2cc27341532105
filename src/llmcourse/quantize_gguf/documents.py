"""Calibration data that are read row by row become one text, as llama.cpp's tools read it.

Runs in a process of its own, whose libraries are gone from memory when it is done.

Settings:
    wish: a `Calibration` as JSON.
    revision: commit of its data set, None for files.
    characters: how much is wanted; less is written where there is no more.
    name: file name of the text.
    trust_remote_code: whether tokenizer code of the model may run.

`result.json`:
    has_conversations: whether the text holds what a chat template wrote, with special tokens in it.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcourse.calibration import texts
from llmcourse.core.artifact import OutputFile
from llmcourse.core.calibration import Calibration
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import write_json


class _ChatTemplate:
    """The model's tokenizer, loaded with the first conversation; plain text needs none."""

    def __init__(self, folder: Path, trust_remote_code: bool) -> None:
        self._folder = folder
        self._trust_remote_code = trust_remote_code
        self.was_used = False

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, trust_remote_code=self._trust_remote_code)

    @property
    def chat_template(self) -> Any:
        return self._tokenizer.chat_template

    def apply_chat_template(self, messages: list[dict[str, Any]], tokenize: bool) -> Any:
        self.was_used = True
        return self._tokenizer.apply_chat_template(messages, tokenize=tokenize)


def run(job: Job, progress: Progress) -> Iterator[OutputFile]:
    """Write the text.

    Raises:
        PlanError: a file is damaged, a row has no text, or there is no chat template for conversations.
        LibraryError: the data set cannot be read.
    """
    settings = job.settings
    template = _ChatTemplate(Path(job.inputs["model"]), settings["trust_remote_code"])
    documents = texts(Calibration(**settings["wish"]), settings["revision"], template, progress)
    partial = job.files / f"{settings['name']}.partial"
    with (
        partial.open("w", encoding="utf-8", newline="") as file,
        progress.step("read calibration data", settings["characters"], "characters") as step,
    ):
        for document in documents:
            step.advance(min(len(document), settings["characters"] - step.done))
            file.write(document.rstrip("\n") + "\n")
            if step.done >= settings["characters"]:
                break
    partial.replace(job.files / settings["name"])
    yield OutputFile.of(job.files, settings["name"])
    write_json(job.scratch / "result.json", {"has_conversations": template.was_used})
