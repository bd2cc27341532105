"""Model cards as the Hub reads them: front matter, validation, and the base models it declares.

The rules are those the project depends on (base models, relation, tags, licence); the Hub's full
schema (model-index, widgets, datasets) is not copied.
"""

import re
from collections.abc import Collection
from typing import Any, Literal, get_args

import yaml

from llmcourse.testing.hub.licenses import LICENSE_IDS

Relation = Literal["adapter", "merge", "quantized", "finetune"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is there
_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_QUANTIZED_NAME = re.compile(r"gguf|gptq|awq|exl2|exl3|bnb", re.IGNORECASE)


class InvalidCard(Exception):
    """The Hub refuses this card; `errors` are its sentences."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


def front_matter(text: str) -> dict[str, Any]:
    """The card's metadata, empty if there is none.

    Raises:
        InvalidCard: the block is not YAML, or not a mapping.
    """
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}
    try:
        data = yaml.load(match.group(1), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise InvalidCard([f"bad YAML: {error}"]) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidCard(["metadata must be a mapping"])
    return data


def lenient_front_matter(text: str) -> dict[str, Any]:
    """The card's metadata; a card that the Hub would refuse today counts as having none.

    Cards put into a repository without HTTP are not validated, and reading must not fail on them.
    """
    try:
        return front_matter(text)
    except InvalidCard:
        return {}


def validate_card(text: str, kind: str = "model") -> list[str]:
    """Check a card as the Hub does and return its warnings; base models are what models have.

    Raises:
        InvalidCard: with one sentence per error.
    """
    data = front_matter(text)
    of_models = [*_base_model_errors(data), *_model_index_errors(data)] if kind == "model" else []
    errors = [*of_models, *_tags_errors(data), *_license_errors(data)]
    if errors:
        raise InvalidCard(errors)
    return [] if data else ["empty or missing yaml metadata in repo card"]


def _base_model_errors(data: dict[str, Any]) -> list[str]:
    relation = data.get("base_model_relation")
    errors = []
    if relation is not None and relation not in RELATIONS:
        errors.append(f'"base_model_relation" must be one of [{", ".join(RELATIONS)}]')
    if "base_model" not in data:
        return errors
    value = data["base_model"]
    if value is None or value == "" or value == []:
        return [*errors, '"base_model" is not allowed to be empty']
    is_list = isinstance(value, list)
    for index, model in enumerate(value if is_list else [value]):
        name = f"base_model[{index}]" if is_list else "base_model"
        if not isinstance(model, str):
            errors.append(f'"{name}" must be a string')
        elif not model:
            errors.append(f'"{name}" is not allowed to be empty')
        elif not _MODEL_ID.fullmatch(model):
            hint = "Use a model id from https://hf.co/models."
            errors.append(f'"{name}" with value "{model}" is not valid. {hint}')
    return errors


def _model_index_errors(data: dict[str, Any]) -> list[str]:
    """What is required of results. Source: modelcard.md of huggingface/hub-docs."""
    models = data.get("model-index", [])
    if not isinstance(models, list):
        return ['"model-index" must be an array']
    required = {"task": ("type",), "dataset": ("type", "name")}
    errors = []
    for number, model in enumerate(models):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            return [f'"model-index[{number}].name" is required']
        for place, result in enumerate(model.get("results") or []):
            at = f"model-index[{number}].results[{place}]"
            missing = [f"{part}.{key}" for part, keys in required.items() for key in keys
                       if not (result.get(part) or {}).get(key)]  # fmt: skip
            missing += [f"metrics[{index}].{key}" for index, metric in enumerate(result.get("metrics") or [])
                        for key in ("type", "value") if metric.get(key) is None]  # fmt: skip
            missing += [] if result.get("metrics") else ["metrics"]
            missing += ["source.url"] if "source" in result and not result["source"].get("url") else []
            errors += [f'"{at}.{name}" is required' for name in missing]
    return errors


def _tags_errors(data: dict[str, Any]) -> list[str]:
    tags = data.get("tags", [])
    if not isinstance(tags, list):
        return ['"tags" must be an array']
    return [f'"tags[{index}]" must be a string' for index, tag in enumerate(tags) if not isinstance(tag, str)]


def _license_errors(data: dict[str, Any]) -> list[str]:
    if "license" not in data:
        return []
    value = data["license"]
    bad = [item for item in as_list(value) if item not in LICENSE_IDS] or not as_list(value)
    return [f'"license" must be one of [{", ".join(sorted(LICENSE_IDS))}]'] if bad else []


def as_list(value: Any) -> list[Any]:
    """Cards may give one value or a list of them."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def base_models(card: dict[str, Any]) -> list[str]:
    """The ids of the declared base models."""
    return [model for model in as_list(card.get("base_model")) if isinstance(model, str) and model]


def relation(card: dict[str, Any], paths: Collection[str], config: dict[str, Any]) -> Relation | None:
    """How the model relates to its base models: declared, or else inferred as the Hub documents.

    Source: docs/hub/model-cards.md, "Specifying a base model": several base models make a merge,
    adapters and quantized weights are recognised by their files, the rest are fine-tunes.
    """
    models = base_models(card)
    if not models:
        return None
    declared = card.get("base_model_relation")
    for known in RELATIONS:
        if declared == known:
            return known
    if len(models) > 1:
        return "merge"
    if "adapter_config.json" in paths or card.get("library_name") == "peft":
        return "adapter"
    names = [*paths, *(tag for tag in as_list(card.get("tags")) if isinstance(tag, str))]
    if "quantization_config" in config or any(_QUANTIZED_NAME.search(name) for name in names):
        return "quantized"
    return "finetune"
