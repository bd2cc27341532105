"""mergekit's documents as typed values: what mergekit-yaml and mergekit-moe read.

The schema is mergekit's own (mergekit 0.1.5: config.py, moe/config.py, tokenizer/config.py) and is kept
here so that a file can be checked without importing mergekit, torch and transformers.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from llmcourse.core.config import Strict
from llmcourse.core.model import expanded

Parameters = dict[str, Any]


class Reference(Strict):
    """A model, as `org/name`, `org/name@revision` or a folder, with a LoRA as `model+lora`."""

    model: str
    lora: str | None = None
    override_architecture: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value | {key: _path_text(value[key]) for key in ("model", "lora") if value.get(key)}
        if not isinstance(value, str) or not value.strip():
            raise ValueError("a model is missing here | Write org/name, org/name@revision or a folder.")
        if expanded(value).exists():
            return {"model": value}
        parts = value.split("+")
        if len(parts) > 2:
            raise ValueError(f"{value!r} names more than one LoRA | Write model+lora.")
        return {"model": parts[0], "lora": parts[1] if len(parts) == 2 else None}

    def __str__(self) -> str:
        return f"{self.model}+{self.lora}" if self.lora else self.model

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.model, self.lora) if self.lora else (self.model,)


def _path_text(value: Any) -> Any:
    """mergekit also writes a path as {path: …, revision: …}."""
    if not isinstance(value, dict):
        return value
    revision = value.get("revision")
    return f"{value.get('path')}@{revision}" if revision else value.get("path")


class InputModel(Strict):
    model: Reference
    parameters: Parameters | None = None


class InputSlice(Strict):
    model: Reference
    layer_range: tuple[int, int]
    parameters: Parameters | None = None


class OutputSlice(Strict):
    sources: list[InputSlice] = Field(min_length=1)
    base_model: Reference | None = None
    residual_weight: float | None = None
    parameters: Parameters | None = None


class OutputModule(Strict):
    slices: list[OutputSlice] | None = None
    models: list[InputModel] | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "OutputModule":
        if bool(self.slices) == bool(self.models):
            raise ValueError("a module needs either slices or models | Keep one of the two.")
        return self


class ModelToken(Strict):
    """Another token's embedding, of any model."""

    kind: Literal["model_token"]
    model: Reference
    token_id: int | None = None
    token: str | None = None


class ZeroEmbedding(Strict):
    kind: Literal["zero"]


def _source_kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "reference" if kind is None else str(kind)


EmbeddingSource = Annotated[
    Annotated[ModelToken, Tag("model_token")]
    | Annotated[ZeroEmbedding, Tag("zero")]
    | Annotated[Reference, Tag("reference")],
    Discriminator(_source_kind),
]


class TokenSource(Strict):
    """Where the embedding of one token comes from."""

    source: EmbeddingSource | None = None
    force: bool = False

    def reference(self) -> Reference | None:
        return (
            self.source.model
            if isinstance(self.source, ModelToken)
            else (self.source if isinstance(self.source, Reference) else None)
        )


class Tokenizer(Strict):
    source: Literal["union", "base"] | Reference = "union"
    tokens: dict[str, TokenSource] | None = None
    pad_to_multiple_of: int | None = None


class Recipe(Strict):
    """One mergekit-yaml document; `name` makes it a stage of a multi-document file."""

    name: str | None = None
    models: list[InputModel] | None = None
    slices: list[OutputSlice] | None = None
    modules: dict[str, OutputModule] | None = None
    merge_method: str
    base_model: Reference | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: Literal["union", "base"] | Reference | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Recipe":
        given = [key for key in ("models", "slices", "modules") if getattr(self, key)]
        if len(given) != 1:
            what = f"it has {' and '.join(given)}" if given else "it has none of them"
            raise ValueError(f"a merge needs exactly one of models, slices, modules; {what} | Keep one.")
        if self.tokenizer and self.tokenizer_source:
            raise ValueError("tokenizer and tokenizer_source exclude each other | Keep one of them.")
        return self

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str | None) -> str | None:
        if value is not None and (not value or value.startswith(("/", "~")) or ".." in Path(value).parts):
            raise ValueError(f"the stage name {value!r} leaves its folder | Use a plain word.")
        return value

    def output_slices(self) -> list[OutputSlice]:
        """The slices of every module; empty where whole models are merged."""
        modules = list((self.modules or {}).values())
        return [*(self.slices or []), *(part for module in modules for part in module.slices or [])]

    def input_models(self) -> list[InputModel]:
        modules = list((self.modules or {}).values())
        return [*(self.models or []), *(part for module in modules for part in module.models or [])]

    def references(self) -> list[Reference]:
        """Every model that gives weights, the base first, then as written; no duplicates."""
        found = [self.base_model] if self.base_model else []
        found += [entry.model for entry in self.input_models()]
        for part in self.output_slices():
            found += [part.base_model] if part.base_model else []
            found += [source.model for source in part.sources]
        return list(dict.fromkeys(found))

    def tokenizer_references(self) -> list[Reference]:
        """Models that are read for their tokenizer or single embeddings only."""
        named = [self.tokenizer_source, self.tokenizer.source if self.tokenizer else None]
        tokens = (self.tokenizer.tokens if self.tokenizer else None) or {}
        named += [token.reference() for token in tokens.values()]
        return [part for part in named if isinstance(part, Reference)]


class Expert(Strict):
    source_model: Reference
    positive_prompts: list[str] | None = None
    negative_prompts: list[str] | None = None
    noise_scale: float | None = None
    residual_scale: float | None = None


class Moe(Strict):
    """One mergekit-moe document."""

    name: str | None = None
    base_model: Reference
    experts: list[Expert] = Field(min_length=1)
    gate_mode: Literal["hidden", "hidden_avg", "hidden_last", "cheap_embed", "random", "uniform_random"] = (
        "hidden"
    )
    dtype: str | None = None
    experts_per_token: int = Field(2, ge=1)
    shared_experts: list[Expert] | None = None
    architecture: str | None = None

    def references(self) -> list[Reference]:
        experts = [*self.experts, *(self.shared_experts or [])]
        return list(dict.fromkeys([self.base_model, *(expert.source_model for expert in experts)]))

    def tokenizer_references(self) -> list[Reference]:
        return []


def kind_of(value: Any) -> str:
    return "moe" if isinstance(value, Moe) or (isinstance(value, dict) and "experts" in value) else "merge"


Stage = Annotated[Annotated[Recipe, Tag("merge")] | Annotated[Moe, Tag("moe")], Discriminator(kind_of)]
