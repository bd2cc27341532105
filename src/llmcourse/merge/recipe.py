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

    model: str = Field(description="org/name, org/name@revision, or a folder.")
    lora: str | None = Field(None, description="A LoRA adapter that is merged into it first.")
    override_architecture: str | None = Field(None, description="Architecture to read it as.")

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
        if not all(part.strip() for part in parts):
            raise ValueError(f"{value!r} has nothing on one side of the + | Write model+lora.")
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
    model: Reference = Field(description="A model to merge.")
    parameters: Parameters | None = Field(None, description="Its own parameters of the method.")


class InputSlice(Strict):
    model: Reference = Field(description="The model whose layers these are.")
    layer_range: tuple[int, int] = Field(description="Its layers: [0, 16] are the first sixteen.")
    parameters: Parameters | None = Field(None, description="Its own parameters of the method.")

    @field_validator("layer_range")
    @classmethod
    def _has_layers(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= value[0] < value[1]:
            raise ValueError(
                f"layer_range [{value[0]}, {value[1]}] has no layers | "
                "Write the first layer, from 0, and the one behind the last."
            )
        return value


class OutputSlice(Strict):
    sources: list[InputSlice] = Field(
        min_length=1, description="Layers that are merged with each other, as many of each model."
    )
    base_model: Reference | None = Field(None, description="Base model of this slice.")
    residual_weight: float | None = Field(
        None, allow_inf_nan=False, description="Read by mergekit, used by nothing."
    )
    parameters: Parameters | None = Field(None, description="Parameters of the method for this slice.")


class OutputModule(Strict):
    slices: list[OutputSlice] | None = Field(None, description="Runs of layers, bottom to top.")
    models: list[InputModel] | None = Field(None, description="The models whose module is merged whole.")
    parameters: Parameters | None = Field(None, description="Parameters of the method for this module.")

    @model_validator(mode="after")
    def _one_kind(self) -> "OutputModule":
        if bool(self.slices) == bool(self.models):
            raise ValueError("a module needs either slices or models | Keep one of the two.")
        return self


class ModelToken(Strict):
    """Another token's embedding, of any model."""

    kind: Literal["model_token"] = Field(description="A token's embedding in some model.")
    model: Reference = Field(description="The model whose embedding it is.")
    token_id: int | None = Field(None, description="The token by its number; or give token.")
    token: str | None = Field(None, description="The token by its text; or give token_id.")

    @model_validator(mode="after")
    def _one_of_two(self) -> "ModelToken":
        if (self.token_id is None) == (self.token is None):
            raise ValueError("a model_token needs either token_id or token | Write one of the two.")
        if self.token_id is not None and self.token_id < 0:
            raise ValueError(f"token_id is {self.token_id}, and ids begin at 0 | Write the token's number.")
        return self


class ZeroEmbedding(Strict):
    kind: Literal["zero"] = Field(description="An embedding of zeros.")


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

    source: EmbeddingSource | None = Field(
        None, description="A model, or a token of one (kind: model_token), or kind: zero."
    )
    force: bool = Field(False, description="Use it also for models that have the token themselves.")

    @model_validator(mode="after")
    def _forced_by_something(self) -> "TokenSource":
        if self.force and self.source is None:
            raise ValueError(
                "force is set and there is no source to take | Add a source, or leave force out."
            )
        return self

    def reference(self) -> Reference | None:
        return (
            self.source.model
            if isinstance(self.source, ModelToken)
            else (self.source if isinstance(self.source, Reference) else None)
        )


class Tokenizer(Strict):
    source: Literal["union", "base"] | Reference = Field(
        "union",
        description="Whose tokens: those of all (union), of the base model (base), or of the model named.",
    )
    tokens: dict[str, TokenSource] | None = Field(
        None, description="By token: where its embedding comes from."
    )
    pad_to_multiple_of: int | None = Field(
        None, ge=1, le=1 << 20, description="Round the vocabulary up to a multiple of this."
    )


class Recipe(Strict):
    """One mergekit-yaml document; `name` makes it a stage of a multi-document file."""

    name: str | None = Field(None, description="Name by which later stages use the result.")
    models: list[InputModel] | None = Field(None, description="Models to merge whole.")
    slices: list[OutputSlice] | None = Field(None, description="Runs of layers, bottom to top.")
    modules: dict[str, OutputModule] | None = Field(
        None, description="By name: the parts of models that have several."
    )
    merge_method: str = Field(description="mergekit's name of it: linear, slerp, ties, dare_ties, …")
    base_model: Reference | None = Field(
        None, description="What differences are taken from; gives the configuration."
    )
    dtype: str | None = Field(None, description="Numbers to compute and write in, as bfloat16.")
    out_dtype: str | None = Field(None, description="Numbers to write in, if not those of dtype.")
    tokenizer_source: Literal["union", "base"] | Reference | None = Field(
        None, description="The older way to write tokenizer.source."
    )
    tokenizer: Tokenizer | None = Field(
        None, description="How vocabularies are joined; without it, the base model's tokenizer."
    )
    chat_template: str | None = Field(None, description="auto (the parents'), chatml, …, or Jinja.")
    parameters: Parameters | None = Field(
        None, description="The method's: a value, a gradient over the layers, or values by filter."
    )

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
        return [part for part in named if isinstance(part, Reference)] + self.embedding_references()

    def embedding_references(self) -> list[Reference]:
        """Models that give the embeddings of single tokens."""
        tokens = (self.tokenizer.tokens if self.tokenizer else None) or {}
        return [part for token in tokens.values() if (part := token.reference())]


class Expert(Strict):
    source_model: Reference = Field(description="The model whose MLP layers become this expert.")
    positive_prompts: list[str] | None = Field(
        None, description="Prompts that it should answer; the router is made from them."
    )
    negative_prompts: list[str] | None = Field(
        None, description="Prompts that it should leave to the others."
    )
    noise_scale: float | None = Field(
        None, allow_inf_nan=False, description="Standard deviation of noise that is added to its weights."
    )
    residual_scale: float | None = Field(
        None, allow_inf_nan=False, description="Factor of what it adds to the residual stream."
    )


class Moe(Strict):
    """One mergekit-moe document."""

    name: str | None = Field(None, description="Name by which later stages use the result.")
    base_model: Reference = Field(description="Gives attention, embeddings and norms.")
    experts: list[Expert] = Field(min_length=1, description="One for each expert of the result.")
    gate_mode: Literal["hidden", "hidden_avg", "hidden_last", "cheap_embed", "random", "uniform_random"] = (
        Field(
            "hidden",
            description="What makes routers: hidden states of the prompts, their embeddings, or chance.",
        )
    )
    dtype: str | None = Field(None, description="Numbers to compute and write in, as bfloat16.")
    experts_per_token: int = Field(2, ge=1, description="How many experts each token goes through.")
    shared_experts: list[Expert] | None = Field(None, description="Experts that every token passes.")
    architecture: str | None = Field(
        None, description="mixtral, deepseek or qwen; by default the first that fits."
    )

    def references(self) -> list[Reference]:
        experts = [*self.experts, *(self.shared_experts or [])]
        return list(dict.fromkeys([self.base_model, *(expert.source_model for expert in experts)]))

    def tokenizer_references(self) -> list[Reference]:
        return []

    def embedding_references(self) -> list[Reference]:
        return []


def kind_of(value: Any) -> str:
    return "moe" if isinstance(value, Moe) or (isinstance(value, dict) and "experts" in value) else "merge"


Stage = Annotated[Annotated[Recipe, Tag("merge")] | Annotated[Moe, Tag("moe")], Discriminator(kind_of)]
