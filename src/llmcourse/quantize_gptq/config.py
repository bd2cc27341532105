"""What the YAML of quantize-gptq may say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from llmcourse.core.calibration import Calibration
from llmcourse.core.config import CardWishes, CommandConfig, Strict, check_patterns
from llmcourse.core.documents import Location
from llmcourse.core.local_paths import Kind
from llmcourse.core.model import ModelRef
from llmcourse.quality.wish import QualityOrNone

Bits = Literal[2, 3, 4, 8]  # gptqmodel's layout of 5, 6 and 7 bits is read by gptqmodel alone
GROUP_SIZES = (-1, 16, 32, 64, 128, 256, 512, 1024)  # gptqmodel 7.6.0, nn_modules/qlinear/torch.py
Method = Literal["gptq", "gptq_v2", "awq"]


def _as_number(value: Any) -> Any:
    """`'4'` as 4: quotes around a number are a habit of shells."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value


def _checked_group(value: Any) -> Any:
    value = _as_number(value)
    if value not in GROUP_SIZES or isinstance(value, bool):
        known = ", ".join(map(str, GROUP_SIZES[1:]))
        raise ValueError(f"there are no groups of {value!r} weights | Use {known}, or -1 for a whole row.")
    return value


class ModuleWishes(Strict):
    """What the modules that a regular expression matches have of their own, by gptqmodel's names."""

    bits: Bits | None = Field(None, description="Bits of a weight.")
    group_size: int | None = Field(None, description="Weights that share a scale; -1 for a whole row.")
    desc_act: bool | None = Field(None, description="Quantize columns in the order of their activations.")
    sym: bool | None = Field(None, description="Symmetric quantization.")

    @field_validator("bits", mode="before")
    @classmethod
    def _bits_in_quotes(cls, value: Any) -> Any:
        return _as_number(value)

    @field_validator("group_size", mode="before")
    @classmethod
    def _known_group(cls, value: Any) -> Any:
        return value if value is None else _checked_group(value)

    def as_settings(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


def default_calibration() -> Calibration:
    """The course's and AutoGPTQ's own: 128 windows of English web text."""
    return Calibration(dataset="allenai/c4", name="en")


class Config(CommandConfig):
    """One model, one GPTQ checkpoint."""

    model: str = Field(description="A Hub id, a folder, or - for the reference that comes through a pipe.")
    bits: Bits = Field(4, description="Bits of a weight: 2, 3, 4 or 8.")
    group_size: int = Field(128, description="Weights that share a scale; -1 for a whole row.")
    desc_act: bool = Field(
        False,
        description="Quantize columns in the order of their activations: a little better, slower to run.",
    )
    damp_percent: float = Field(0.01, gt=0, lt=1, description="Share of the mean added to the Hessian.")
    symmetric: bool = Field(True, description="Symmetric quantization, which all fast kernels read.")
    method: Method = Field("gptq", description="gptq, gptq_v2 (its checkpoint format), or awq.")
    modules: dict[str, ModuleWishes | None] = Field(
        default_factory=dict,
        description="By regular expression on a module's name: its own bits, group_size, …, or false.",
    )
    backend: Literal["gptqmodel", "auto-gptq"] = Field(
        "gptqmodel", description="auto-gptq (archived) is for those who need its exact behaviour; CUDA only."
    )
    calibration: Calibration = Field(default_factory=default_calibration, description="What is measured on.")
    dtype: Literal["auto", "float16", "bfloat16"] = Field(
        "auto",
        description="Of what is not quantized; auto keeps the model's 16 bits, and makes float16 of 32.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where it is computed.")
    quality: QualityOrNone = Field(
        None, description="Measure the result against the unquantized model on this text."
    )
    dry_run: Literal["mock"] | None = Field(
        None, description="mock: every step without the arithmetic; the result is of no use but as a check."
    )
    trust_remote_code: bool = Field(False, description="Run code that the model brings.")
    card: CardWishes = Field(default_factory=CardWishes, description="The model card.")

    PATHS: ClassVar[Mapping[Location, Kind]] = {
        ("model",): "model", ("calibration", "text"): "file", ("calibration", "file"): "file",
        ("quality",): "file", ("quality", "text"): "file",
    }  # fmt: skip

    # What is measured changes no weight; the plan's settings have the dtype that was decided.
    NOT_COMPUTED: ClassVar[frozenset[str]] = CommandConfig.NOT_COMPUTED | {"quality", "card", "dtype"}

    @field_validator("bits", mode="before")
    @classmethod
    def _known_bits(cls, value: Any) -> Any:
        value = _as_number(value)
        if value in (5, 6, 7):
            raise ValueError(
                f"{value} bits have a layout that only gptqmodel reads | Use 4 or 8 bits, or 2 or 3."
            )
        if value not in (2, 3, 4, 8) or isinstance(value, bool):
            raise ValueError(f"bits cannot be {value!r} | Use 2, 3, 4 or 8.")
        return value

    @field_validator("group_size", mode="before")
    @classmethod
    def _known_group(cls, value: Any) -> Any:
        return _checked_group(value)

    @field_validator("modules", mode="before")
    @classmethod
    def _false_leaves_a_module(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return {} if value is None else value
        nothing = [pattern for pattern, wish in value.items() if wish is None]
        if nothing:
            raise ValueError(f"{nothing[0]!r} wishes nothing | Write false to leave the module as it is.")
        return {pattern: None if wish is False else wish for pattern, wish in value.items()}

    @field_serializer("modules")
    def _as_it_is_written(self, value: dict[str, ModuleWishes | None]) -> dict[str, Any]:
        return {pattern: wish.as_settings() if wish else False for pattern, wish in value.items()}

    @field_validator("modules")
    @classmethod
    def _regular_expressions(cls, value: dict[str, ModuleWishes | None]) -> dict[str, ModuleWishes | None]:
        check_patterns(value)
        return value

    @model_validator(mode="after")
    def _of_one_backend(self) -> "Config":
        if self.method == "awq":
            defaults = Config.model_fields
            wrong = [
                name
                for name in ("desc_act", "damp_percent", "dry_run")
                if getattr(self, name) != defaults[name].default
            ]
            if wrong:
                raise ValueError(f"awq has no {wrong[0]} | Remove it, or use method: gptq.")
            of_modules = [wish for wish in self.modules.values() if wish]
            if self.bits != 4 or any(wish.bits not in (None, 4) for wish in of_modules):
                raise ValueError("awq is of 4 bits | Set bits: 4, or use method: gptq.")
            if any(wish.desc_act for wish in of_modules):
                raise ValueError("awq has no desc_act | Remove it, or use method: gptq.")
        if self.backend == "auto-gptq":
            own = [name for name in ("modules", "dry_run") if getattr(self, name)]
            own += ["method"] if self.method != "gptq" else []
            own += ["dtype"] if self.dtype == "bfloat16" else []
            if own:
                raise ValueError(f"auto-gptq knows no {own[0]} | Remove it, or use backend: gptqmodel.")
        return self

    @property
    def dynamic(self) -> dict[str, dict[str, Any]]:
        """`modules` as gptqmodel has them: it matches from the start of a name, a minus leaves a module."""
        found: dict[str, dict[str, Any]] = {}
        for pattern, wish in self.modules.items():
            if wish is None:
                found[f"-:.*(?:{pattern})"] = {}
            else:
                found[f"+:.*(?:{pattern})"] = wish.as_settings()
        return found

    def models(self) -> dict[str, ModelRef]:
        return {self.model: ModelRef.parse(self.model)}

    def files(self) -> dict[str, Path]:
        return self.calibration.files() | ({self.quality.text: self.quality.path} if self.quality else {})

    def datasets(self) -> tuple[str, ...]:
        return self.calibration.datasets()
