"""What a merge config may say: a mergekit file verbatim, or our wrapper around one.

mergekit ignores keys that it does not know; here those that look like a typo are errors, and the
others are named in the plan.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from llmcourse.core.config import CommandConfig, Strict, unknown_key
from llmcourse.core.documents import Document, Location, parse, read_documents
from llmcourse.core.errors import ConfigError
from llmcourse.core.model import ModelRef, expanded
from llmcourse.merge.local_paths import move_stages
from llmcourse.merge.options import MergeOptions
from llmcourse.merge.recipe import Moe, Recipe, Reference, Stage, kind_of
from llmcourse.merge.unknown_keys import drop_ignored

# Fields of Config that are no keys of the YAML.
_FILLED_WHEN_READ = frozenset({"source", "read_from", "ignored_keys"})

Profile = Literal["cpu", "cpu-high-ram", "gpu"]


class CardWishes(Strict):
    """What the model card says beside what is known from the merge itself."""

    title: str | None = Field(None, description="Heading; by default the name of the result.")
    license: str | None = Field(None, description="Licence id; by default derived from the parents' cards.")
    language: list[str] | None = Field(None, description="Languages; by default the parents'.")
    tags: list[str] = Field(default_factory=list, description="More tags.")


class Config(CommandConfig):
    """`merge` holds one document, or the stages of a multi-document file."""

    merge: list[Stage] = Field(min_length=1, description="The mergekit document(s), or a path to a file.")
    profile: Profile | None = Field(None, description="LazyMergekit's runtime; chosen from the machine.")
    options: MergeOptions = Field(default_factory=MergeOptions, description="mergekit's own options.")
    allow_pickle: bool = Field(False, description="Read pickled weights (.bin), which can run code.")
    card: CardWishes = Field(default_factory=CardWishes, description="The model card.")
    source: str = Field("", exclude=True, description="The document(s) as written; filled when read.")
    read_from: str = Field("", exclude=True, description="Where they were read; filled when read.")
    ignored_keys: list[str] = Field(default_factory=list, exclude=True, description="Filled when read.")

    NOT_COMPUTED: ClassVar[frozenset[str]] = CommandConfig.NOT_COMPUTED | {"card"}

    @classmethod
    def arrange(cls, documents: Sequence[Document], folder: Path) -> Document:
        """A mergekit file becomes the wrapper's `merge:`; a path there is read, relative to the config."""
        first = documents[0]
        wrapper = Document({}, {(): first.marks[()]})
        if len(documents) == 1 and isinstance(first.data, dict):
            wrapper = _lifted(first, set(cls.model_fields) - _FILLED_WHEN_READ)
            if "merge" in wrapper.data:
                return _wrapped(wrapper, folder)
        return _with_stages(wrapper, documents, folder)

    @classmethod
    def move_paths(cls, document: Document, folder: Path, start: Path | None = None) -> None:
        """Of a document of mergekit, or of some keys of one."""
        move_stages([document], folder, start)

    @classmethod
    def override_location(cls, location: Location) -> Location:
        """`hub.private=…` goes to the wrapper, `dtype=…` to the (first) mergekit document."""
        if location[0] == "merge" and len(location) > 1 and not isinstance(location[1], int):
            return ("merge", 0, *location[1:])
        ours = set(cls.model_fields) - _FILLED_WHEN_READ
        return location if location[0] in ours else ("merge", 0, *location)

    @classmethod
    def shown_location(cls, location: Location) -> Location:
        """Inside a mergekit document, places are named as in a file of its own."""
        return location[2:] if location[:1] == ("merge",) else location

    @model_validator(mode="after")
    def _stages_have_names(self) -> "Config":
        names = [stage.name for stage in self.merge]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(
                f"two documents are {'called ' + repr(twice[0]) if twice[0] else 'unnamed'} | "
                "Give every stage but the last a name of its own."
            )
        return self

    @property
    def stage_names(self) -> set[str]:
        return {stage.name for stage in self.merge if stage.name}

    def recipe_text(self) -> str:
        """The document(s) as written, comments included, unless overrides changed what they say."""
        if self.source:
            documents = parse(self.source, "source")
            written = _with_stages(Document({}, {}), documents, Path(self.read_from)).data["merge"]
            if Config(merge=written).merge == self.merge:
                return self.source
        documents = [_plain(stage.model_dump(mode="json", exclude_unset=True)) for stage in self.merge]
        return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)

    def models(self) -> dict[str, ModelRef]:
        """Every model read from disk or the Hub; results of earlier stages are none of them."""
        found: dict[str, ModelRef] = {}
        for stage in self.merge:
            for reference in (*stage.references(), *stage.tokenizer_references()):
                for text in reference.parts:
                    if text not in self.stage_names:
                        found.setdefault(text, ModelRef.parse(text))
        return found


def _plain(value: Any) -> Any:
    """References as text again, as people write them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("model"), str):
        reference = Reference.model_validate(value)
        return value if reference.override_architecture else str(reference)
    return {key: item if key == "parameters" else _plain(item) for key, item in value.items()}


def _lifted(document: Document, ours: set[str]) -> Document:
    """Take the wrapper's keys out of a document: `hub:` beside mergekit's own keys means what it says."""
    lifted = {key: document.data[key] for key in ours if key in document.data}
    if "merge" in document.data:
        lifted = dict(document.data)  # then everything is the wrapper's, and unknown keys are errors
        for key in _FILLED_WHEN_READ & lifted.keys():
            raise unknown_key(key, sorted(ours), document.where((key,)))
    for key in lifted:
        del document.data[key]
    marks = {place: mark for place, mark in document.marks.items() if place == () or place[0] in lifted}
    return Document(lifted, marks)


def _wrapped(document: Document, folder: Path) -> Document:
    value = document.data["merge"]
    if isinstance(value, str):
        path = folder / expanded(value)
        return _with_stages(document, read_documents(str(path)), path.parent)
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ConfigError(
            "merge holds no document.", "`llmcourse init merge` writes one.", document.where(("merge",))
        )
    stages = []
    for index, item in enumerate(items):
        prefix: Location = ("merge", index) if isinstance(value, list) else ("merge",)
        stages.append(Document(item, document.marks_of(*prefix)))
    return _with_stages(document, stages, folder)


def _with_stages(wrapper: Document, stages: Sequence[Document], folder: Path) -> Document:
    """`folder` is where relative paths of the stages start."""
    move_stages(stages, folder)
    marks = {location: mark for location, mark in wrapper.marks.items() if location[:1] != ("merge",)}
    ignored: list[str] = []
    for index, stage in enumerate(stages):
        if not isinstance(stage.data, dict):
            raise ConfigError(
                "A merge must be a mapping of keys.", "`llmcourse init merge` writes one.", stage.where(())
            )
        ignored += drop_ignored(stage, Moe if kind_of(stage.data) == "moe" else Recipe)
        marks |= stage.under("merge", index)
    data = dict(wrapper.data) | {"merge": [stage.data for stage in stages], "ignored_keys": ignored}
    if stages[0].text and stages[0] is not wrapper:
        data |= {"source": stages[0].text, "read_from": os.path.relpath(folder)}
    return Document(data, marks, notes=[note for stage in stages for note in stage.notes])


def walk_stages(config: Config) -> Iterator[Recipe | Moe]:
    """Stages in an order in which each comes after those it uses; the last is the result.

    Raises:
        ConfigError: stages use each other in a circle, or more than one is used by none.
    """
    needed: set[str] = set().union(*(_used(stage, config.stage_names) for stage in config.merge))
    waiting = list(config.merge)
    made: set[str] = set()
    while waiting:
        ready = [stage for stage in waiting if _used(stage, config.stage_names) <= made]
        if not ready:
            raise ConfigError(
                f"The stages {_names(waiting)} use each other in a circle.", "Break the circle.", "merge"
            )
        result = result_stage(config)
        stage = next((one for one in ready if one is not result), ready[0])
        waiting.remove(stage)
        made |= {stage.name} if stage.name else set()
        if stage is result or stage.name in needed:
            yield stage


def result_stage(config: Config) -> Recipe | Moe:
    """The stage that no other uses: the unnamed one, or the end of the chain."""
    used: set[str] = set().union(*(_used(stage, config.stage_names) for stage in config.merge))
    ends = [stage for stage in config.merge if stage.name not in used]
    ends = [stage for stage in ends if stage.name is None] or ends
    if len(ends) != 1:
        raise ConfigError(
            f"{len(ends)} stages are used by no other ({_names(ends)}); the result must be one.",
            "Leave one stage as the last, or run them one by one.",
            where="merge",
        )
    return ends[0]


def _used(stage: Recipe | Moe, names: set[str]) -> set[str]:
    references = (*stage.references(), *stage.tokenizer_references())
    return {text for reference in references for text in reference.parts} & names


def _names(stages: Sequence[Recipe | Moe]) -> str:
    return ", ".join(stage.name or "(unnamed)" for stage in stages) or "none"
