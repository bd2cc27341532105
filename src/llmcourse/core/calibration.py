"""Calibration data as a config names it, and what of it a plan can know: one thing for every command.

A quantizer looks at what flows through the model over some text.  The text is a data set of the Hub, which is
streamed, or files of this machine, for which no network is touched.  `llmcourse.calibration` reads it.
"""

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Self

from pydantic import AliasChoices, Field, field_validator, model_validator

from llmcourse.core.config import Strict
from llmcourse.core.console import human_bytes
from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.model import expanded, is_hub_id
from llmcourse.core.plan import Check, DatasetFacts, Facts, FileFacts, fail, failure, ok, warn

PLAIN, LINES, TABLE = ("", ".txt", ".md", ".raw"), (".jsonl",), (".parquet",)
# A tokenizer makes at most one token of a byte; of usual text one of about four.
_USUAL_BYTES_PER_TOKEN = 4
_MOST_BYTES_PER_TOKEN = 8  # of texts; no tokenizer in use makes fewer tokens of prose or code
# Where a data set has several configs and none is named or marked; allenai/c4 is one of these.
_PREFERRED = ("default", "en")


class Source(Strict):
    """A data set, and which part of it."""

    dataset: str | None = Field(None, description="A data set of the Hub: user/name or user/name@revision.")
    name: str | None = Field(None, description="The data set's config; by default its own default, or en.")
    split: str = Field("train", description="The data set's split.")
    column: str | None = Field(
        None, description="Column of the text; by default text, else messages or conversations."
    )
    seed: int = Field(0, ge=0, description="Which part is drawn.")

    @field_validator("dataset")
    @classmethod
    def _owner_and_name(cls, value: str | None) -> str | None:
        if value is not None and not is_hub_id(value.partition("@")[0]):
            raise ValueError(
                f"{value!r} is no data set of the Hub | Write it as user/name, or give text: a file."
            )
        return value

    @model_validator(mode="after")
    def _parts_of_a_dataset(self) -> Self:
        if self.dataset is None and (self.name is not None or self.split != "train"):
            raise ValueError("name and split are of a dataset, and none is given | Remove them.")
        return self

    def datasets(self) -> tuple[str, ...]:
        """Data sets that are read, as written; for `CommandConfig.datasets`."""
        return (self.dataset,) if self.dataset else ()


class Calibration(Source):
    """`samples` windows of `length` tokens of a data set, or of files."""

    text: list[str] | None = Field(
        None,
        min_length=1,
        validation_alias=AliasChoices("text", "file"),
        description="Files of this machine: .txt, .jsonl or .parquet, with texts or conversations.",
    )
    samples: int = Field(128, ge=1, description="How many windows.")
    length: int = Field(2048, ge=1, description="Tokens of a window.")

    @field_validator("text", mode="before")
    @classmethod
    def _one_file_is_a_list_too(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _kinds_of_files(cls, value: list[str] | None) -> list[str] | None:
        for name in value or ():
            if PurePath(name).suffix.lower() not in (*PLAIN, *LINES, *TABLE):
                raise ValueError(f"{name!r} is no kind of file that is read | Give .txt, .jsonl or .parquet.")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.text is None):
            raise ValueError(
                "calibration needs a dataset or a text, and not both "
                "| Write calibration: {dataset: allenai/c4}, or {text: calibration.txt}."
            )
        return self

    @property
    def tokens(self) -> int:
        """Tokens that are needed in all."""
        return self.samples * self.length

    def files(self) -> dict[str, Path]:
        """Files of this machine that are read, by the name as written; for `CommandConfig.files`."""
        return {name: expanded(name) for name in self.text or ()}


def config_of(name: str | None, dataset: DatasetFacts) -> str:
    """The config of a data set that is read: the named one, its default, its only one, else `en`.

    Raises:
        PlanError: there is none of that name, or several and none of them is meant more than others.
    """
    known = sorted(dataset.configs)
    if name is not None:
        if name in known:
            return name
        raise PlanError(f"{dataset.id} has no config {name!r}.", f"Set name: to {_either(known)}.")
    if dataset.default is not None:
        return dataset.default
    chosen = known if len(known) == 1 else [preferred for preferred in _PREFERRED if preferred in known]
    if not chosen:
        raise PlanError(
            f"{dataset.id} has {len(known)} configs and none was named.", f"Set name: to {_either(known)}."
        )
    return chosen[0]


def calibration_checks(wish: Calibration, facts: Facts) -> Iterator[Check]:
    """Whether the data can be had, and whether it can be enough; nothing of it is read for this."""
    needed = f"{wish.samples} windows of {wish.length} tokens"
    if wish.dataset is not None:
        yield _dataset_check(wish, facts.datasets[wish.dataset], needed)
        return
    found = [facts.files[name] for name in wish.files()]
    errors = [file for file in found if isinstance(file, LlmcourseError)]
    if errors:
        yield from (failure(error, "calibration") for error in errors)
        return
    size = sum(file.size for file in found if isinstance(file, FileFacts))
    kinds = {PurePath(name).suffix.lower() for name in wish.files()}
    is_plain, is_packed = kinds <= set(PLAIN), bool(kinds & set(TABLE))
    names = ", ".join(PurePath(name).name for name in wish.files())
    if is_plain and size < wish.tokens:
        yield fail(
            "calibration",
            f"{names} has {size} bytes, which cannot be the {wish.tokens} tokens of {needed}.",
            f"Give more text, or set {_enough(size, wish.length)}.",
        )
    elif not is_packed and size < wish.tokens * _USUAL_BYTES_PER_TOKEN:
        yield warn(
            "calibration",
            f"{names} has {human_bytes(size)}, usually about {size // _USUAL_BYTES_PER_TOKEN} tokens; "
            f"{wish.tokens} are needed for {needed}.",
            "Give more text, or set samples or length lower, if it turns out too little.",
        )
    else:
        yield ok("calibration", f"{needed} of {names} ({human_bytes(size)})")


def _enough(size: int, length: int) -> str:
    """Settings for which `size` bytes of text suffice, whatever language it is in."""
    if samples := enough_tokens(size) // length:
        return f"calibration.samples={samples}"
    return f"calibration.samples=1 and calibration.length={max(1, enough_tokens(size))}"


def enough_tokens(size: int) -> int:
    """Tokens that so many bytes of text have at least."""
    return size // _MOST_BYTES_PER_TOKEN


def _dataset_check(wish: Calibration, dataset: DatasetFacts | LlmcourseError, needed: str) -> Check:
    if isinstance(dataset, LlmcourseError):
        return failure(dataset, "calibration")
    try:
        config = config_of(wish.name, dataset)
    except PlanError as error:
        return failure(error, "calibration")
    splits = dataset.configs[config]
    if splits and wish.split not in splits:
        return fail(
            "calibration",
            f"{dataset.id} ({config}) has no split {wish.split!r}.",
            f"Set split: to {_either(sorted(splits))}.",
        )
    return ok("calibration", f"{needed} of {dataset.id} ({config}, {wish.split}) at {dataset.revision[:8]}")


def revision_of(wish: Calibration, facts: Facts) -> str | None:
    """The commit of the data set, to which reading is pinned; None for files of this machine."""
    dataset = facts.datasets.get(wish.dataset or "")
    return dataset.revision if isinstance(dataset, DatasetFacts) else None


def provenance(wish: Calibration, facts: Facts) -> dict[str, Any]:
    """What the data is, for settings, fingerprint and card: ids and hashes, no folders of this machine."""
    amount = {"samples": wish.samples, "length": wish.length, "seed": wish.seed}
    if wish.text is not None:
        found = [(name, facts.files.get(name)) for name in wish.text]
        files = [
            {"name": PurePath(name).name, "sha256": file.sha256}
            for name, file in found
            if isinstance(file, FileFacts)
        ]
        return {"files": files, "column": wish.column, **amount}
    dataset = facts.datasets.get(wish.dataset or "")
    if not isinstance(dataset, DatasetFacts):
        return {"dataset": wish.dataset, **amount}  # the plan refuses it
    try:
        name: str | None = config_of(wish.name, dataset)
    except PlanError:
        name = wish.name  # likewise
    known = {"dataset": dataset.id, "revision": dataset.revision, "name": name, "split": wish.split}
    return {**known, "column": wish.column, **amount}


def _either(names: list[str]) -> str:
    """`a, b or c`; of many the first."""
    most = 12
    shown = names if len(names) <= most else [*names[:most], f"{len(names) - most} more"]
    return " or ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)
