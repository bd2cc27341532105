"""Who says that a model was made from which others: each claim with where it is written.

In this order: the Hub's own `baseModels`, the card's head, a mergekit recipe, tags, an adapter's
configuration, the metadata of quantized files, our own manifest.  A recipe adds to what is said elsewhere;
tags, and what tools left in other files, count only where nothing else names a parent.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.core.card_head import head_problem, yaml_problem
from llmcourse.family_tree.gguf_header import base_models as gguf_base_models
from llmcourse.family_tree.graph import Relation
from llmcourse.family_tree.names import claimed_id
from llmcourse.family_tree.recipes import RECIPE_NAMES, Ingredient, recipe_in_card, recipe_of

HUB, HUB_TAG, CARD, TAG = "baseModels", "base_model tag", "card", "tag"
README, ADAPTER, GPTQ, CONFIG = "README.md", "adapter_config.json", "quantize_config.json", "config.json"
_RELATIONS = {relation.value: relation for relation in Relation if relation is not Relation.UNKNOWN}
_RELATION_TAG = re.compile(r"base_model:(adapter|merge|quantized|finetune):(.+)")
_PLAIN_TAG = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_MERGE_TAGS = {"mergekit", "lazymergekit", "merge", "merged", "moe-merge", "frankenmoe", "model_stock"}
_QUANTIZED = re.compile(r"(?<![a-z0-9])(gguf|ggml|gptq|awq|exl2|exl3|bnb|4bit|8bit)(?![a-z])", re.IGNORECASE)
_COMMANDS = {"merge": Relation.MERGE, "quantize-gguf": Relation.QUANTIZED,
             "quantize-gptq": Relation.QUANTIZED, "quantize-exl2": Relation.QUANTIZED}  # fmt: skip
# What tells of ancestors comes first in a GGUF header, before the vocabulary.
GGUF_BYTES = 65_536


class Described(Protocol):
    """What a model says of itself without its files being opened; a Hub model and a folder both do."""

    @property
    def id(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def card(self) -> Mapping[str, Any]: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def library(self) -> str | None: ...
    @property
    def relation(self) -> str | None: ...
    @property
    def base_models(self) -> tuple[str, ...]: ...
    @property
    def files(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Claim:
    """One place that names a parent. `is_tentative`: perhaps it is no model at all."""

    parent: str
    evidence: str
    relation: Relation = Relation.UNKNOWN
    weight: float | None = None
    method: str | None = None
    share: float | None = None
    is_tentative: bool = False
    is_base: bool = False  # of a merge's recipe alone; cards often leave it out
    is_explicit: bool = False  # the relation was written by an author or a tool, and not inferred


def claims_of_metadata(model: Described) -> list[Claim]:
    """All that is known without opening a file; tags only where nothing else names a parent."""
    claims = [
        Claim(name, HUB, _RELATIONS.get(model.relation or "", Relation.UNKNOWN)) for name in model.base_models
    ]
    if not claims:  # a list of models has no baseModels, but the tags that the Hub derives from them
        marked = [found for tag in model.tags if (found := _RELATION_TAG.fullmatch(tag))]
        claims = [Claim(found[2], HUB_TAG, _RELATIONS[found[1]]) for found in marked]
    named = [text for text in _listed(model.card.get("base_model")) if isinstance(text, str) and text.strip()]
    declared = model.card.get("base_model_relation")
    explicit = _RELATIONS.get(declared) if isinstance(declared, str) else None
    # What the Hub inferred is not for us to infer again.
    relation = explicit or (claims[0].relation if claims else _inferred(model, len(named)))
    claims += [Claim(name, CARD, relation, is_explicit=explicit is not None) for name in named]
    return claims or _claims_of_plain_tags(model)


def unusable_base_models(model: Described) -> str:
    """What the card has for base models and nobody can take for names; empty where all is well."""
    stated = model.card.get("base_model")
    entries = stated if isinstance(stated, list) else [stated]
    strange = [entry for entry in entries if entry not in (None, "") and not isinstance(entry, str)]
    return repr(strange[0])[:80] if strange else ""


def _claims_of_plain_tags(model: Described) -> list[Claim]:
    """Tags that look like model ids; whether they are is known only when the Hub is asked."""
    datasets = {str(name).lower() for name in _listed(model.card.get("datasets"))}
    names = dict.fromkeys(
        tag
        for tag in model.tags
        if _PLAIN_TAG.fullmatch(tag) and tag.lower() not in datasets | {model.id.lower()}
    )
    relation = Relation.MERGE if is_merge(model) else Relation.UNKNOWN
    return [Claim(name, TAG, relation, is_tentative=True) for name in names]


def _inferred(model: Described, count: int) -> Relation:
    """The relation of a card that does not say it, as the Hub infers it (docs/hub/model-cards.md)."""
    if count > 1:
        return Relation.MERGE
    if ADAPTER in model.files or model.library == "peft":
        return Relation.ADAPTER
    if is_quantized(model):
        return Relation.QUANTIZED
    return Relation.MERGE if is_merge(model) else Relation.FINETUNE


def is_merge(model: Described) -> bool:
    return any(tag.lower() in _MERGE_TAGS for tag in model.tags)


def is_quantized(model: Described) -> bool:
    if "quantization_config" in model.config or GPTQ in model.files:
        return True
    names = [model.id.rpartition("/")[2], *model.tags, *model.files]
    return any(_QUANTIZED.search(name) for name in names)


def files_that_tell(model: Described, claims: list[Claim]) -> tuple[str, ...]:
    """The files worth a request each, given what is known: none where all is clear already."""
    relations = {claim.relation for claim in claims if claim.evidence in (HUB, HUB_TAG, CARD)}
    is_made_otherwise = bool(relations & {Relation.QUANTIZED, Relation.ADAPTER})
    if ADAPTER in model.files and Relation.ADAPTER in relations:
        return (ADAPTER,)  # it was written when the adapter was trained; a card may say something else
    recipe = next((name for name in RECIPE_NAMES if name in model.files), None)
    is_named = any(not claim.is_tentative for claim in claims)
    if recipe and not is_made_otherwise and (Relation.MERGE in relations or not is_quantized(model)):
        return (recipe,) if is_named else (recipe, *_last_resorts(model))
    if README in model.files and not is_made_otherwise and _needs_card_text(model, is_named):
        return (README,) if is_named else (README, *_last_resorts(model))
    return () if is_named else _last_resorts(model)


def _needs_card_text(model: Described, is_named: bool) -> bool:
    """Cards of merges have the recipe in their text, and a card without any head may have one there."""
    return is_merge(model) or (not is_named and not model.card)


def _last_resorts(model: Described) -> tuple[str, ...]:
    """Files in which tools left the name of what they started from."""
    found = [name for name in (ADAPTER, GPTQ, MANIFEST_NAME) if name in model.files]
    found += sorted(name for name in model.files if name.lower().endswith(".gguf"))[:1]
    if CONFIG in model.files and is_quantized(model) and not found:
        found.append(CONFIG)
    return tuple(found)


def claims_of_file(name: str, content: str | bytes, model: Described) -> list[Claim]:
    """What one of those files says; one that cannot be understood says nothing."""
    if isinstance(content, bytes):
        return [Claim(parent, "GGUF metadata", Relation.QUANTIZED) for parent in gguf_base_models(content)]
    if name in RECIPE_NAMES:
        return _claims_of_recipe(recipe_of(content), name)
    if name == README:
        return _claims_of_recipe(recipe_in_card(content), "recipe in the card")
    data = _json(content)
    if name == ADAPTER:
        return _claim(data.get("base_model_name_or_path"), name, Relation.ADAPTER)
    if name == GPTQ:
        return _claim(data.get("model_name_or_path"), name, Relation.QUANTIZED)
    if name == CONFIG:
        return _claim(data.get("_name_or_path"), name, Relation.QUANTIZED)
    inputs = data.get("inputs")
    relation = _COMMANDS.get(str(data.get("command")))
    if relation is None or not isinstance(inputs, dict):
        return []
    return [Claim(str(parent), name, relation, is_explicit=True) for parent in inputs]


def problem_of_file(name: str, content: str) -> str:
    """Why a file that names parents cannot be understood, as part of a sentence; empty where it can."""
    if name == README:
        problem = head_problem(content)
        return f"the YAML head of its card ({problem})" if problem else ""
    if name in RECIPE_NAMES:
        return name if yaml_problem(content) else ""
    try:
        is_object = isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        is_object = False
    return "" if is_object else f"{name}, which is no JSON object"


def _claims_of_recipe(found: tuple[Ingredient, ...], place: str) -> list[Claim]:
    return [
        Claim(
            part.model,
            place,
            Relation.MERGE,
            part.weight,
            part.method,
            part.share,
            is_base=part.is_base,
            is_explicit=True,
        )
        for part in found
    ]


def _claim(value: Any, place: str, relation: Relation) -> list[Claim]:
    """A name that a tool wrote down; where it is a folder of whoever ran it, it says nothing."""
    if not isinstance(value, str) or claimed_id(value).id is None:
        return []
    return [Claim(value, place, relation, is_explicit=True)]


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
