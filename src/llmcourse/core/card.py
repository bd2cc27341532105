"""Model cards: a YAML head that the Hub accepts, and a body from the command's own template.

The Hub refuses a card at commit time (an empty `base_model`, a path or URL in it, tags that are no
list, an unknown licence): the head is checked here, before anything is sent.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, field_validator

from llmcourse.core import licences
from llmcourse.core.model import ModelFacts, is_hub_id


class CardMetadata(BaseModel):
    """The YAML head. Keys are the Hub's own; what is empty is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    license: str | None = None
    license_name: str | None = None
    language: list[str] = Field(default_factory=list)
    library_name: str = "transformers"
    pipeline_tag: str | None = None
    base_model: list[str] = Field(default_factory=list)
    base_model_relation: str | None = None
    tags: list[str] = Field(default_factory=list)

    @field_validator("base_model")
    @classmethod
    def _only_repository_ids(cls, value: list[str]) -> list[str]:
        wrong = [name for name in value if not is_hub_id(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no Hub id; the Hub refuses such a card")
        return list(dict.fromkeys(value))

    @field_validator("license")
    @classmethod
    def _known_licence(cls, value: str | None) -> str | None:
        if value is not None and value not in licences.KNOWN:
            raise ValueError(f"{value!r} is no licence the Hub knows | Use one of its ids, or 'other'.")
        return value


@dataclass(frozen=True)
class Card:
    """A command's card: its head, and the values its template `card.md.jinja` shows."""

    metadata: CardMetadata
    values: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)  # texts that belong beside it, by file name


def render(card: Card, package: str) -> str:
    """The README.md text, with `card.md.jinja` of the command's package as body."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the result is Markdown that people edit, not HTML we serve
    )
    environment.filters |= {"cell": cell, "code": code}
    head = {key: value for key, value in card.metadata.model_dump().items() if value}
    if not head.get("base_model"):
        head.pop("base_model_relation", None)
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000)
    body = environment.get_template("card.md.jinja").render(card.values)
    return f"---\n{front}---\n\n{body.strip()}\n"


def fence(text: str) -> str:
    """A Markdown fence that the text cannot close by itself."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def cell(text: object) -> str:
    """A text that stays in its cell of a Markdown table; for templates, `| cell`."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|")


def code(text: str) -> str:
    """A name as code within a line, with more backticks around it than are in it; `| code`."""
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (max(len(run) for run in re.findall(r"`+", text)) + 1)
    return f"{ticks} {text} {ticks}"


def quantized_head(
    model: ModelFacts,
    licence: str,
    tags: Iterable[str],
    *,
    library: str = "transformers",
    base: ModelFacts | None = None,
) -> CardMetadata:
    """The head of what was quantized from `model`, or of an adapter for `base`.

    The base model is the one that was quantized, not its parents: that is what people look for.
    """
    language = model.card.get("language") or []
    task = model.card.get("pipeline_tag")
    origin = base or model
    return CardMetadata(
        license=licence,
        language=[name for name in (language if isinstance(language, list) else [language]) if is_word(name)],
        library_name=library,
        pipeline_tag=task if is_word(task) else "text-generation",
        base_model=[origin.hub_id] if origin.hub_id and is_hub_id(origin.hub_id) else [],
        base_model_relation="quantized" if base is None else "adapter",
        tags=list(dict.fromkeys(tags)),
    )


def is_word(value: Any) -> TypeGuard[str]:
    """Somebody else's card may hold anything there, and the Hub refuses a card for it."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]+", value) is not None


def linked_name(model: ModelFacts) -> str:
    """The model in Markdown, with the way to it on the Hub if it is there."""
    if model.hub_id:
        return f"[{model.hub_id}](https://huggingface.co/{model.hub_id})"
    return model.name
