"""YAML (a file or stdin) plus `key=value` overrides, read into a pydantic model.

Every error says the place where the value was written, and all are found at once.
"""

import difflib
import re
import types
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmcourse.core.artifact import HubKind
from llmcourse.core.documents import Document, Location, read_documents
from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.core.local_paths import Kind, from_folder
from llmcourse.core.model import ModelRef
from llmcourse.core.overrides import apply_override
from llmcourse.core.piped import piped_reference
from llmcourse.core.progress import silent


class Strict(BaseModel):
    """A part of a config: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubTarget(Strict):
    """Where on the Hub the result is published."""

    repo: str = Field(description="Repository id on the Hub, as user/name.")
    private: bool = Field(False, description="Create the repository as private.")
    revision: str = Field("main", description="Branch to publish to; it is created if it is not there.")


class CardWishes(Strict):
    """What the model card says beside what is known from the model itself."""

    license: str | None = Field(None, description="Licence id; by default the model's.")
    tags: list[str] = Field(default_factory=list, description="More tags.")


class ConfigFile(Strict):
    """What a YAML file may say."""

    # Where models and files of this machine are named.
    PATHS: ClassVar[Mapping[Location, Kind]] = {}

    @classmethod
    def arrange(cls, documents: Sequence[Document], folder: Path) -> Document:
        """Bring what was written into the shape of this model; by default one document is expected.

        Relative paths in it start at `folder`.
        """
        if len(documents) != 1:
            raise ConfigError(
                f"The config holds {len(documents)} YAML documents; this command takes one.",
                "Keep one document and remove the '---' lines between the others.",
            )
        cls.move_paths(documents[0], folder)
        return documents[0]

    @classmethod
    def move_paths(cls, document: Document, folder: Path, start: Path | None = None) -> None:
        """Rewrite relative paths that start at `folder`; see `from_folder`."""
        from_folder(document, cls.PATHS, folder, start)

    @classmethod
    def override_location(cls, location: Location) -> Location:
        """Where in the arranged document the override `a.b=…` goes."""
        return location

    @classmethod
    def shown_location(cls, location: Location) -> Location:
        """A location of the arranged document as the user knows it."""
        return location


class CommandConfig(ConfigFile):
    """What the YAML of every command may say beside its own keys."""

    output: str | None = Field(None, description="Folder of the result; the option -o wins over it.")
    hub: HubTarget | None = Field(None, description="Publish to the Hub; --push and --no-push win over it.")

    # Keys that do not change what is computed: a finished run stays valid when they change.
    NOT_COMPUTED: ClassVar[frozenset[str]] = frozenset({"output", "hub"})
    # What its results are on the Hub.
    HUB_KIND: ClassVar[HubKind] = "model"
    # Keys by which something is published: --no-push sets them back.
    PUBLISHES: ClassVar[frozenset[str]] = frozenset({"hub"})

    @abstractmethod
    def models(self) -> dict[str, ModelRef]:
        """Every model this config reads, keyed by the reference as it is written."""

    def files(self) -> dict[str, Path]:
        """Single files of this machine that the config names beside the models, by the name as written."""
        return {}

    def datasets(self) -> tuple[str, ...]:
        """Data sets of the Hub that the config names, as written."""
        return ()

    def target_of(self, piece: str, whole: HubTarget) -> HubTarget:
        """Where a piece of the result is published; by default where `whole`, all of it, is.

        A piece with a place of its own lies in the folder of its name, which becomes the root of that place.
        """
        return whole

    def publishes_partial(self) -> bool:
        """Whether a result may be published while parts of it are missing: during the run, or for good."""
        return True

    def unpublished(self) -> Self:
        """This config with nothing to publish."""
        fields = type(self).model_fields
        defaults = {key: fields[key].get_default(call_default_factory=True) for key in self.PUBLISHES}
        return self.model_copy(update=defaults)

    def left_to_others(self) -> Self | None:
        """This config so that machines of others do the work while we go on; None where this machine does it.

        Such machines read models from the Hub, and the same command collects what they made.
        """
        return None

    def was_left(self, scratch: Path) -> bool:
        """Whether others work on this since an earlier run, by what that left in its scratch folder."""
        return False

    def releases(self, path: str) -> bool:
        """Whether this file of the result is deleted here once it was published and verified."""
        return False


def check_patterns(patterns: Iterable[str]) -> None:
    """For validators: every key of a table by regular expression is one.

    Raises:
        ValueError: with both sentences.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"{pattern!r} is no regular expression ({error}) | Correct it, or escape it."
            ) from None


Config = TypeVar("Config", bound=ConfigFile)


def load(
    model: type[Config],
    source: str,
    overrides: Sequence[str] = (),
    note: Callable[[str], None] = silent,
) -> Config:
    """Read `source` (a path, or "-" for stdin), apply overrides, and validate; `note` gets what is odd.

    Raises:
        ConfigError: unreadable, not YAML, or wrong in one place.
        Problems: wrong in several places.
    """
    documents = read_documents(source)
    folder = Path.cwd() if source == "-" else Path(source).absolute().parent
    document = model.arrange(documents, folder)
    if not isinstance(document.data, dict):
        raise ConfigError(
            "The config is not a set of keys with values.",
            "Write lines of key: value, as `llmcourse init` does.",
            document.where(()),
        )
    for text in document.notes:
        note(text)
    for override in overrides:
        apply_override(document, override, model)
    if "model" in model.model_fields and document.data.get("model") == "-":
        document.data["model"] = piped_reference(source)
    config = validate(model, document)
    if isinstance(config, CommandConfig) and not all(name.strip() for name in config.models()):
        raise ConfigError(
            "A model's name is empty.", "Give a Hub id or a folder.", document.where(("model",))
        )
    return config


def validate(model: type[Config], document: Document) -> Config:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise _problems(error, document, model) from None


def _problems(error: ValidationError, document: Document, model: type[ConfigFile]) -> LlmcourseError:
    errors = [_problem(dict(item), document, model) for item in error.errors(include_url=False)]
    return errors[0] if len(errors) == 1 else Problems(errors)


def _problem(item: Mapping[str, Any], document: Document, model: type[ConfigFile]) -> ConfigError:
    location = _real_location(item["loc"], document.data)
    dotted = ".".join(map(str, model.shown_location(location))) or "the config"
    where = document.where(location)
    if item["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, item["loc"][:-1]))
        return unknown_key(str(item["loc"][-1]), known, where)
    if item["type"] == "missing":
        return ConfigError(f"{dotted} is missing.", f"Add the key {item['loc'][-1]!r}.", where)
    if item["type"] == "literal_error":
        known_values = str(item["ctx"]["expected"])
        return ConfigError(f"{dotted} cannot be {item['input']!r}.", f"Use {known_values}.", where)
    message = str(item["msg"]).removeprefix("Value error, ")
    what, _, fix = message.partition(" | ")
    what = what.rstrip(".")
    shown = "" if isinstance(item["input"], dict | list) else f" (it is {item['input']!r})"
    if fix:
        return ConfigError(f"{what}.", fix, where)
    return ConfigError(f"{dotted}: {what[:1].lower()}{what[1:]}{shown}.", f"Correct {dotted}.", where)


def unknown_key(key: str, known: Sequence[str], where: str | None) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1)
    fix = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return ConfigError(f"{key!r} is not a known key.", fix, where)


def _real_location(location: Sequence[str | int], data: Any) -> Location:
    """pydantic puts names of union members into a location; keep the parts that index the data."""
    real: list[str | int] = []
    part: Any
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if (isinstance(data, dict) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        ):
            data = data[part]
        elif not (last and isinstance(data, dict)):
            continue
        real.append(part)
    return tuple(real)


def _keys_at(annotation: Any, location: Sequence[str | int]) -> set[str]:
    """Names of the keys that the models reachable at `location` know."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return set().union(*(_keys_at(arg, location) for arg in get_args(annotation)))
    if origin in (list, tuple, dict) and location:
        return _keys_at(get_args(annotation)[-1], location[1:])
    if hasattr(annotation, "__metadata__"):
        return _keys_at(get_args(annotation)[0], location)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    if not location:
        return {info.alias or name for name, info in annotation.model_fields.items() if not info.exclude}
    if location[0] in annotation.model_fields:
        return _keys_at(annotation.model_fields[str(location[0])].annotation, location[1:])
    # The part names a member of a union, not a key.
    return _keys_at(annotation, location[1:])
