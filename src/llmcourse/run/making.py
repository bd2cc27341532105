"""One work of a pipeline as the command it is: its config, its plan, its run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from llmcourse.core.artifact import Artifact
from llmcourse.core.command import Command, opened
from llmcourse.core.config import CommandConfig, validate
from llmcourse.core.console import Console
from llmcourse.core.documents import Document, read_documents
from llmcourse.core.errors import ConfigError
from llmcourse.core.model import ModelFacts
from llmcourse.core.overrides import put_value
from llmcourse.core.planning import Request
from llmcourse.core.workspace import is_as_made, read_artifact
from llmcourse.run.config import Publication
from llmcourse.run.steps import MAKERS, REFERENCE, Work, texts_of


@dataclass
class StepConsole(Console):
    """Says what a command says, but for its result, which is one of several."""

    lines: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        self.lines.append(text)


@dataclass(frozen=True)
class Settings:
    """How all works of a pipeline are run; `document` is the pipeline as it was written."""

    console: Console
    folder: Path
    no_push: bool
    force: bool
    document: Document
    told: set[str] = field(default_factory=set)

    def tell(self, *documents: Document) -> None:
        """Say what was odd in them, once."""
        for note in (note for document in documents for note in document.notes):
            if note not in self.told:
                self.told.add(note)
                self.console.note(note)

    def console_of_step(self) -> StepConsole:
        mine = self.console
        return StepConsole(False, mine.is_quiet, mine.is_verbose, mine.progress)


def config_of(work: Work, settings: Settings, published: Mapping[str, str] | None = None) -> CommandConfig:
    """The config of a work: its file if it has one, and over it what the pipeline says.

    `published` are references of what other works have published, by their folders: machines of others
    read those.

    Raises:
        ConfigError, Problems: as the command itself would, with the place in either file.
    """
    config = _config_as_written(work, settings)
    if not published or config.left_to_others() is None:
        return config
    return _config_as_written(replace(work, settings=_published(work.settings, published)), settings)


def _published(value: Any, published: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _published(item, published) for key, item in value.items()}
    if isinstance(value, list):
        return [_published(item, published) for item in value]
    return published.get(value, value) if isinstance(value, str) else value


def _config_as_written(work: Work, settings: Settings) -> CommandConfig:
    model = _config_class(work.command)
    written = settings.document.marks_of(*work.place)
    if work.config is None:
        own = Document(deepcopy(dict(work.settings)), written)
        document = model.arrange([own], settings.folder)
        settings.tell(document)
        return validate(model, document)
    documents = read_documents(str(work.config))
    _refuse_references(documents, settings)
    document = model.arrange(documents, work.config.absolute().parent)
    own = Document(deepcopy(dict(work.settings)), written)
    model.move_paths(own, settings.folder)
    settings.tell(document, own)
    for key, value in own.data.items():
        location = model.override_location((key,))
        put_value(document.data, location, value, f"with.{key}")
        marks = settings.document.marks_of(*work.place, key)
        document.marks |= {(*location, *place): mark for place, mark in marks.items()}
    return validate(model, document)


def move_typed(document: Document, override: str, folder: Path) -> None:
    """A path in an override starts at the current folder; have it start at `folder`, the pipeline's."""
    head, step, part, *location = [*override.partition("=")[0].split("."), "", ""]
    location = [key for key in location if key]
    if (head, part) != ("steps", "with") or not location:
        return
    said = document.data["steps"][step]
    command = said.get("command") or step
    if command not in MAKERS:
        return
    keys: list[Any] = [int(key) if key.isdecimal() else key for key in location]
    holder = said["with"]
    for key in keys[:-1]:
        holder = holder[key]
    alone: Any = holder[keys[-1]]
    for key in reversed(keys):
        alone = {key: alone}
    own = Document(alone, {})
    _config_class(command).move_paths(own, Path.cwd(), folder)
    for key in keys:
        alone = alone[key]
    holder[keys[-1]] = alone


def _config_class(command: str) -> type[CommandConfig]:
    package = f"llmcourse.{command.replace('-', '_')}"
    return cast(type[CommandConfig], import_module(f"{package}.config").Config)


def _refuse_references(documents: Sequence[Document], settings: Settings) -> None:
    for document in documents:
        for location, text in texts_of(document.data):
            for reference in REFERENCE.findall(text):
                if reference.partition(".")[0] in (*settings.document.data["steps"], "matrix"):
                    raise ConfigError(
                        f"${{{reference}}} stands in a step's own config, where it means nothing.",
                        "Write that key in the pipeline, under the step's with:.",
                        document.where(location),
                    )


def publication_of(work: Work, settings: Settings) -> Publication:
    """What a step with the command `push` says."""
    marks = settings.document.marks_of(*work.place)
    return validate(Publication, Document(dict(work.settings), marks))


def request_of(work: Work, settings: Settings, dry_run: bool) -> Request:
    return Request(
        str(work.config or work.name),
        output=str(work.output),
        push=None if settings.no_push else work.push,
        no_push=settings.no_push,
        private=work.private and not settings.no_push,
        revision=work.revision,
        dry_run=dry_run,
        force=settings.force,
        owns=is_untouched,
    )


@contextmanager
def command_of(
    work: Work, settings: Settings, config: CommandConfig, foreseen: Mapping[str, ModelFacts] | None = None
) -> Iterator[Command]:
    """The command of a work, opened; with what is `foreseen` it is planned only (core.command.opened)."""
    request = request_of(work, settings, dry_run=foreseen is not None)
    with opened(work.command, request, settings.console_of_step(), config, foreseen) as command:
        yield command


def is_untouched(folder: Path) -> bool:
    """Whether a folder is just as llmcourse left it: then a pipeline may replace what it made itself."""
    artifact = read_artifact(folder)
    return artifact is not None and all(is_as_made(folder, file) for file in artifact.files)


def draw_family(work: Work, settings: Settings) -> list[Path]:
    """Draw the family tree of a work into its folder; returns the files.

    Raises:
        LlmcourseError: as `llmcourse family-tree` does.
    """
    from llmcourse.family_tree.command import execute

    execute(family_request(work, settings), settings.console_of_step())
    return sorted(path for path in work.output.iterdir() if path.is_file())


def family_request(work: Work, settings: Settings) -> Any:
    """The request of `llmcourse family-tree` that a work amounts to.

    Raises:
        ConfigError: it names no model.
    """
    from llmcourse.family_tree.request import Request as FamilyRequest

    given = dict(work.settings)
    place = settings.document.where(work.place)
    words = given.pop("model", None)
    words = words if isinstance(words, list) else [words] if words else []
    if work.config:
        words = [str(work.config), *(f"model={word}" for word in words)]
    if not words:
        raise ConfigError(f"{work.name} names no model.", "Add model: ${step} under with.", place)
    options = {"formats": ["svg", "html"], **given, "output": f"{work.output}/"}
    marks = settings.document.marks_of(*work.place)
    return FamilyRequest(tuple(map(str, words)), options, no_push=settings.no_push, marks=marks)


def published(work: Work, source: Work, settings: Settings) -> Work:
    """The work whose result a step `push` publishes, with where it goes."""
    wish = publication_of(work, settings)
    return replace(source, push=wish.repo, private=wish.private, revision=wish.revision)


def artifact_of(work: Work, settings: Settings, config: CommandConfig) -> Artifact:
    """Make a work, or find it made; publish it where that is wished.

    Raises:
        HandedOver: others go on with it.
        LlmcourseError: as its command does.
    """
    with command_of(work, settings, config) as command:
        try:
            return command.artifact()
        finally:
            command.console.close()
