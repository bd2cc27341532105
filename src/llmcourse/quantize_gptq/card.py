"""The model card of a GPTQ or AWQ checkpoint: what it is, what it cost, how to load it."""

from typing import Any

from llmcourse.core import licences
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, linked_name, quantized_head
from llmcourse.core.console import human_bytes
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import licence_of, stated_context
from llmcourse.core.plan import Facts
from llmcourse.quantize_gptq.config import Config, ModuleWishes

_PLOT, _QUALITY = "layers.png", "quality.json"


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """The card; figures are those of quality.json beside it."""
    model = facts.models[config.model]
    assert isinstance(model, ModelFacts), "the plan refuses models that cannot be read"
    name = model.name
    licence = licences.combine({name: licence_of(config.card, model)})
    files = {file.path: file for file in artifact.files}
    weights = sum(file.size for file in artifact.files if file.path.endswith(".safetensors"))
    tried = next((file.about for file in artifact.files if "problems" in file.about), {})
    values = {
        "title": repo.rpartition("/")[2] if repo else f"{name}-{_method(config)}-{config.bits}bit",
        "model": linked_name(model),
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
        "rounded": next((file.about["rounded"] for file in artifact.files if "rounded" in file.about), []),
        "sample": tried.get("sample", ""),
        "loaders": tried.get("problems", {}),
        "is_chat": tried.get("is_chat", False),
        "context": stated_context(model),
        "licence_warning": "" if config.card.license else licence.warning,
        "versions": artifact.versions | artifact.details.get("dependencies", {}),
    }
    tags = [_method(config).lower(), f"{config.bits}-bit", config.backend, "autoquant", *config.card.tags]
    return Card(quantized_head(model, licence.name, tags), values)


def _told(wish: ModuleWishes | None) -> str:
    return (
        ", ".join(f"{key} {value}" for key, value in wish.as_settings().items()) if wish else "not quantized"
    )


def _method(config: Config) -> str:
    return "AWQ" if config.method == "awq" else "GPTQ"


def _quality(artifact: Artifact, files: dict[str, Any]) -> dict[str, Any] | None:
    """What was measured; the figures are in the file's `about`, so that the card needs no file."""
    return files[_QUALITY].about if _QUALITY in files else None
