"""What the YAML of quantize-exl2 may say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from llmcourse.core.calibration import Calibration
from llmcourse.core.config import CardWishes, CommandConfig, HubTarget
from llmcourse.core.documents import Location
from llmcourse.core.local_paths import Kind
from llmcourse.core.model import ModelRef, expanded
from llmcourse.quality.wish import QualityOrNone
from llmcourse.quantize_exl2.naming import is_width, width_repo

LEAST_BITS, MOST_BITS = 2.0, 8.0
# The library's own set is cut into passages of so many tokens (exllamav2 0.3.2, conversion/tokenize.py).
_BUILT_IN_STEP = 128


class Target(HubTarget):
    """Where on the Hub the results are published."""

    repo: str = Field("", description="Repository id on the Hub, as user/name; or it comes with --push.")
    layout: Literal["branches", "repos"] = Field(
        "branches", description="A branch for each number of bits, or a repository for each."
    )


class Rows(Calibration):
    """Text for calibration; `samples` rows of `length` tokens, in the order in which they come."""

    samples: int = Field(100, ge=1, description="How many rows; the library's dataset_rows.")

    @model_validator(mode="after")
    def _files_have_their_own_order(self) -> "Rows":
        if self.text and self.seed:
            raise ValueError("seed draws from a dataset; files are read from their beginning | Remove it.")
        return self


class Config(CommandConfig):
    """One model, one measurement, many sizes."""

    hub: Target | None = Field(None, description="Publish to the Hub; --push and --no-push win over it.")
    model: str = Field(description="A Hub id, a folder, or - for the reference that comes through a pipe.")
    bits_per_weight: list[float] = Field(
        min_length=1, description="Average bits of a weight of the layers, 2 to 8; a model is made for each."
    )
    head_bits: Literal[2, 3, 4, 5, 6, 8] = Field(6, description="Bits of a weight of the output layer.")
    calibration: Rows | None = Field(
        None,
        description="Text to calibrate on; by default the set that the library brings, which suits most.",
    )
    measurement: str | None = Field(
        None, description="A ready measurement.json of this model: the longer part of the work is left out."
    )
    measurement_rows: int = Field(16, ge=1, description="Rows to measure on, of a text of yours.")
    measurement_length: int = Field(2048, ge=1, description="Tokens of a row to measure on.")
    shard_size: int = Field(8192, ge=0, description="Largest file in MB (of 2^20 bytes); 0 for one file.")
    rope_scale: float | None = Field(None, gt=0, description="Factor of the positions, for such models.")
    rope_alpha: float | None = Field(None, gt=0, description="NTK factor of the positions, for such models.")
    quality: QualityOrNone = Field(
        None, description="Measure each result against the unquantized model on this text."
    )
    card: CardWishes = Field(default_factory=CardWishes, description="The model card.")

    PATHS: ClassVar[Mapping[Location, Kind]] = {
        ("model",): "model", ("measurement",): "file", ("calibration", "text"): "file",
        ("calibration", "file"): "file", ("quality",): "file", ("quality", "text"): "file",
    }  # fmt: skip

    # A result stays of use when others are asked for; so it is with what is measured.
    NOT_COMPUTED: ClassVar[frozenset[str]] = CommandConfig.NOT_COMPUTED | {
        "bits_per_weight", "quality", "card"
    }  # fmt: skip

    @field_validator("bits_per_weight", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("bits_per_weight")
    @classmethod
    def _within_reach(cls, value: list[float]) -> list[float]:
        for bits in value:
            if not LEAST_BITS <= bits <= MOST_BITS:
                raise ValueError(
                    f"{bits:g} bits per weight cannot be reached | Write numbers from 2 to 8, as 4.25."
                )
        return list(dict.fromkeys(value))

    @model_validator(mode="after")
    def _rows_of_the_built_in_set(self) -> "Config":
        if self.calibration is None and self.measurement_length % _BUILT_IN_STEP:
            raise ValueError(
                f"measurement_length {self.measurement_length} does not divide the library's own set "
                f"| Use a multiple of {_BUILT_IN_STEP}, or a calibration of yours."
            )
        return self

    def target_of(self, piece: str, whole: HubTarget) -> HubTarget:
        if not is_width(piece):
            return whole
        if self.hub and self.hub.layout == "repos":
            return whole.model_copy(update={"repo": width_repo(whole.repo, piece)})
        return whole.model_copy(update={"revision": piece})

    def models(self) -> dict[str, ModelRef]:
        return {self.model: ModelRef.parse(self.model)}

    def files(self) -> dict[str, Path]:
        named = [self.measurement] if self.measurement else []
        named += [self.quality.text] if self.quality else []
        calibration = self.calibration.files() if self.calibration else {}
        return {name: expanded(name) for name in named} | calibration

    def datasets(self) -> tuple[str, ...]:
        return self.calibration.datasets() if self.calibration else ()
