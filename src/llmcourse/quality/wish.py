"""What a config may say about measuring a quantized model."""

from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from llmcourse.core.config import Strict
from llmcourse.core.model import expanded

_ROWS = (".jsonl", ".parquet", ".json", ".gz", ".zst")


class Quality(Strict):
    """Held-out text on which what is made is compared with the unquantized model."""

    text: str = Field(description="A text file that is in no calibration.")
    chunks: int = Field(50, ge=1, description="How many windows of 512 tokens of it are used.")

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @field_validator("text")
    @classmethod
    def _plain_text(cls, value: str) -> str:
        if PurePath(value).suffix.lower() in _ROWS:
            raise ValueError(
                f"{value!r} is no plain text | Give a text file; its bytes are what is measured."
            )
        return value

    @property
    def path(self) -> Path:
        return expanded(self.text).absolute()


def _none_as_people_write_it(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() == "none" else value


# `quality: none` turns the measurement off; YAML reads that word as a text.
QualityOrNone = Annotated[Quality | None, BeforeValidator(_none_as_people_write_it)]


def quality_key(text_sha256: str, chunks: int) -> str:
    """Names the text and how much of it was read; figures of another key are not comparable."""
    return f"{text_sha256[:12]}-{chunks}"
