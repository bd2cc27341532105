"""The model card of a GPTQ or AWQ checkpoint: what it is, what it cost, how to load it."""

import re
from typing import Any, TypeGuard

from llmcourse.core import licences
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata
from llmcourse.core.console import human_bytes
from llmcourse.core.model import ModelFacts, is_hub_id
from llmcourse.core.model_checks import licence_of
from llmcourse.core.plan import Facts
from llmcourse.quantize_gptq.config import Config, ModuleWishes

_PLOT, _QUALITY = "layers.png", "quality.json"


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """The card; figures are those of quality.json beside it."""
    model = facts.models[config.model]
    assert isinstance(model, ModelFacts), "the plan refuses models that cannot be read"
    name = _name(model)
    licence = licences.combine({name: licence_of(config.card, model)})
    files = {file.path: file for file in artifact.files}
    weights = sum(file.size for file in artifact.files if file.path.endswith(".safetensors"))
    values = {
        "title": repo.rpartition("/")[2] if repo else f"{name}-{_method(config)}-{config.bits}bit",
        "model": f"[{model.hub_id}](https://huggingface.co/{model.hub_id})" if model.hub_id else name,
        "place": repo or "PATH",
        "method": _method(config),
        "config": config,
        "group": "whole rows" if config.group_size == -1 else f"groups of {config.group_size}",
        "modules": {pattern: _told(wish) for pattern, wish in config.modules.items()},
        "size": human_bytes(weights),
        "original_size": human_bytes(model.weight_bytes),
        "calibration": artifact.details.get("calibration", {}),
        "quality": _quality(artifact, files),
        "plot": _PLOT if _PLOT in files else None,
        "sample": next((file.about["sample"] for file in artifact.files if "sample" in file.about), ""),
        "licence_warning": "" if config.card.license else licence.warning,
        "versions": artifact.versions,
    }
    return Card(_metadata(config, model, licence.name), values)


def _told(wish: ModuleWishes | None) -> str:
    return (
        ", ".join(f"{key} {value}" for key, value in wish.as_settings().items()) if wish else "not quantized"
    )


def _method(config: Config) -> str:
    return "AWQ" if config.method == "awq" else "GPTQ"


def _name(model: ModelFacts) -> str:
    return model.hub_id.rpartition("/")[2] if model.hub_id else model.ref.place.name


def _quality(artifact: Artifact, files: dict[str, Any]) -> dict[str, Any] | None:
    """What was measured; the figures are in the file's `about`, so that the card needs no file."""
    return files[_QUALITY].about if _QUALITY in files else None


def _metadata(config: Config, model: ModelFacts, licence: str) -> CardMetadata:
    language = model.card.get("language") or []
    languages = language if isinstance(language, list) else [language]
    task = model.card.get("pipeline_tag")
    tags = [_method(config).lower(), f"{config.bits}-bit", config.backend, "autoquant"]
    return CardMetadata(
        license=licence,
        language=[word for word in languages if _is_word(word)],
        pipeline_tag=task if _is_word(task) else "text-generation",
        base_model=[model.hub_id] if model.hub_id and is_hub_id(model.hub_id) else [],
        base_model_relation="quantized",
        tags=list(dict.fromkeys([*tags, *config.card.tags])),
    )


def _is_word(value: Any) -> TypeGuard[str]:
    """Somebody else's card may hold anything there, and the Hub refuses a card for it."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]+", value) is not None
