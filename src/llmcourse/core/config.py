"""YAML (a file or stdin) plus `key=value` overrides, read into a pydantic model.

Every error says the place where the value was written, and all are found at once.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmcourse.core.artifact import HubKind
from llmcourse.core.config_errors import config_errors
from llmcourse.core.config_errors import unknown_key as unknown_key
from llmcourse.core.documents import Document, Location, read_documents
from llmcourse.core.errors import ConfigError, Problems
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
        errors = config_errors(error, document, model)
        raise errors[0] if len(errors) == 1 else Problems(errors) from None
