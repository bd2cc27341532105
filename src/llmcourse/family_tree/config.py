"""What the YAML of `llmcourse family-tree` may say."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from llmcourse.core.config import ConfigFile, Strict
from llmcourse.core.documents import Location
from llmcourse.core.local_paths import Kind
from llmcourse.core.model import ModelRef

Direction = Literal["up", "down", "both"]
Format = Literal["tree", "json", "mermaid", "dot", "svg", "png", "html"]
Colours = Literal["licence", "relation"]


_ADDRESSES = ("http://", "https://", "hf.co/", "huggingface.co/")


def reference(model: str) -> ModelRef:
    """What was written, as everywhere in llmcourse; here the address of a model's page will do too."""
    if model.lower().startswith(_ADDRESSES):
        from llmcourse.family_tree.names import claimed_id  # takes the Hub's client along

        return ModelRef(claimed_id(model).id or model)
    return ModelRef.parse(model)


def _list_of(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _own_card(value: Any) -> Any:
    """`hub: true` is short for the card of the model itself, `hub: false` for none."""
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class CardTarget(Strict):
    """The model card that gets the tree."""

    repo: str | None = Field(None, description="Model whose card it is; by default the one asked for.")
    revision: str | None = Field(None, description="Branch of the card; by default the model's, or main.")
    pull_request: bool = Field(False, description="Propose it by a pull request rather than commit it.")


class Config(ConfigFile):
    """Whose family, how far, and as what."""

    PATHS: ClassVar[Mapping[Location, Kind]] = {("model",): "model"}

    model: Annotated[list[str], BeforeValidator(_list_of)] = Field(
        min_length=1, description="Hub ids, folders, or - for the references of a pipe; one or a list."
    )
    direction: Direction = Field("up", description="up to the ancestors, down to the descendants, or both.")
    depth: int | None = Field(None, ge=0, description="So many generations; without it, all there are.")
    limit: int = Field(
        50, ge=0, description="Children shown of each model, by downloads; the others are counted."
    )
    formats: Annotated[list[Format], BeforeValidator(_list_of)] = Field(
        [], description="tree, json, mermaid, dot, svg, png, html; by default what the output's ending says."
    )
    colour_by: Colours = Field("licence", description="What colours mean: licence or relation.")
    output: str | None = Field(
        None, description="A file, or a folder that gets one for each format; the option -o wins over it."
    )
    # Another thing than where a result is published, under the same name: here it goes into a card.
    hub: Annotated[CardTarget | None, BeforeValidator(_own_card)] = Field(
        None, description="Put the tree into the model's card; --push and --no-push win over it."
    )

    @field_validator("model")
    @classmethod
    def _no_empty_name(cls, model: list[str]) -> list[str]:
        if not all(name.strip() for name in model):
            raise ValueError("A model's name is empty | Give a Hub id or a folder.")
        return model

    @model_validator(mode="after")
    def _one_card(self) -> "Config":
        if self.hub and not self.hub.repo and len(self.model) > 1:
            raise ValueError(
                f"The tree of {len(self.model)} models cannot tell whose card it goes into"
                f" | Name it, as hub: {{repo: {_first_on_the_hub(self.model)}}}."
            )
        return self

    @model_validator(mode="after")
    def _no_format_twice(self) -> "Config":
        twice = sorted({name for name in self.formats if self.formats.count(name) > 1})
        if twice:
            raise ValueError(f"formats names {twice[0]} twice | Keep one of them.")
        return self


def _first_on_the_hub(models: Sequence[str]) -> str:
    refs = [reference(name) for name in models]
    return next((ref.path for ref in refs if not ref.is_local), "me/name")
