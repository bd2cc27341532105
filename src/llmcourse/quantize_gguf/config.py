"""What the YAML of quantize-gguf may say."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar

from pydantic import Field, field_validator

from llmcourse.core.calibration import LINES, TABLE, Calibration, Source
from llmcourse.core.config import CardWishes, CommandConfig, check_patterns
from llmcourse.core.documents import Location
from llmcourse.core.local_paths import Kind
from llmcourse.core.model import ModelRef, expanded
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quality.wish import QualityOrNone
from llmcourse.quantize_gguf.naming import IMATRIX_NAME
from llmcourse.quantize_gguf.types import ALIASES

# AutoQuant's six: from the smallest that is of use to the one that is hard to tell from the original.
DEFAULT_TYPES = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
_UNITS = {"M": 10**6, "G": 10**9}


class Imatrix(Source):
    """Text over which the activations are measured, or an imatrix that is ready."""

    text: str | None = Field(
        None,
        description="A text file, best of many kinds and of the model's own uses; or .jsonl or .parquet, "
        "with texts or conversations.",
    )
    chunks: int = Field(100, ge=1, description="How many windows of 512 tokens of it are used.")
    file: str | None = Field(None, description="An imatrix of llama.cpp (.gguf or .dat) instead of a text.")

    def documents(self) -> Calibration | None:
        """What is read row by row: a data set, or a file of rows. None for plain text and a ready matrix."""
        of_rows = self.text is not None and PurePath(self.text).suffix in (*LINES, *TABLE)
        if self.dataset is None and not of_rows:
            return None
        part = self.model_dump(include=set(Source.model_fields))
        text = None if self.dataset else [str(self.text)]
        return Calibration(text=text, samples=self.chunks, length=CONTEXT, **part)


class Config(CommandConfig):
    """One model, many GGUF types."""

    model: str = Field(description="A Hub id, a folder, or - for the reference that comes through a pipe.")
    types: list[str] = Field(
        default=list(DEFAULT_TYPES), min_length=1, description="llama.cpp's names, in any letter case."
    )
    imatrix: Imatrix | None = Field(
        None, description="Importance matrix: made from a text or a data set, or a ready file, or none."
    )
    quality: QualityOrNone = Field(
        None, description="Measure each type against the unquantized model on this text."
    )
    tensor_types: dict[str, str] = Field(
        default_factory=dict, description="Types of single tensors, by regular expression (attn_v: Q8_0)."
    )
    mmproj: bool = Field(False, description="Also make the projector file of a vision or audio model.")
    split: str | None = Field(None, description="Largest file, as 20G or 500M; bigger results are split.")
    pre_tokenizer: str | None = Field(None, description="llama.cpp's name of the BPE pre-tokenizer.")
    converter: str | None = Field(None, description="A llama.cpp checkout whose converter is used instead.")
    base: str | None = Field(None, description="The model that a LoRA adapter is for.")
    keep_local: bool = Field(True, description="Keep each file here after it was published and verified.")
    allow_pickle: bool = Field(False, description="Read pickled weights (.bin), which can run code.")
    trust_remote_code: bool = Field(False, description="Run tokenizer code that the model brings.")
    card: CardWishes = Field(default_factory=CardWishes, description="The model card.")

    PATHS: ClassVar[Mapping[Location, Kind]] = {
        ("model",): "model", ("base",): "model", ("converter",): "file",
        ("imatrix",): "file", ("imatrix", "text"): "file", ("imatrix", "file"): "file",
        ("quality",): "file", ("quality", "text"): "file",
    }  # fmt: skip

    # A type that is made stays of use when others are asked for; so it is with what is measured.
    NOT_COMPUTED: ClassVar[frozenset[str]] = CommandConfig.NOT_COMPUTED | {
        "types", "quality", "mmproj", "keep_local", "card"
    }  # fmt: skip

    @field_validator("imatrix", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """`none` as people write it, which YAML reads as a text; and a path alone is a ready imatrix."""
        if not isinstance(value, str):
            return value
        if value.lower() == "none":
            return None
        return {"file": value}

    @field_validator("imatrix")
    @classmethod
    def _one_source(cls, value: Imatrix | None) -> Imatrix | None:
        if value is not None and [value.text, value.dataset, value.file].count(None) != 2:
            raise ValueError(
                "imatrix needs a text or a file, or a dataset, and one of them alone "
                "| Write imatrix: {text: calibration.txt}."
            )
        return value

    @field_validator("types", mode="before")
    @classmethod
    def _one_type_is_a_list_too(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("types")
    @classmethod
    def _upper_case(cls, value: list[str]) -> list[str]:
        names = (name.strip().upper() for name in value)
        return list(dict.fromkeys(ALIASES.get(name, name) for name in names))

    @field_validator("tensor_types")
    @classmethod
    def _regular_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        check_patterns(value)
        return {pattern: name.upper() for pattern, name in value.items()}

    @field_validator("split")
    @classmethod
    def _is_a_size(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[1-9]\d*[MG]", value):
            raise ValueError(f"split {value!r} is no size | Write a number with M or G, as 20G.")
        return value

    @property
    def split_bytes(self) -> int:
        """The largest file in bytes, 0 where files are not split."""
        return int(self.split[:-1]) * _UNITS[self.split[-1]] if self.split else 0

    def releases(self, path: str) -> bool:
        return not self.keep_local and path.endswith(".gguf") and path != IMATRIX_NAME

    def models(self) -> dict[str, ModelRef]:
        return {name: ModelRef.parse(name) for name in (self.model, self.base) if name is not None}

    def files(self) -> dict[str, Path]:
        named = [self.imatrix.text, self.imatrix.file] if self.imatrix else []
        named += [self.quality.text] if self.quality else []
        return {name: expanded(name) for name in named if name}

    def datasets(self) -> tuple[str, ...]:
        return self.imatrix.datasets() if self.imatrix else ()
