"""The model card of a merge: parents of every kind of recipe, the method, the recipe itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from llmcourse.core import licences
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata, fence
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Facts
from llmcourse.merge.config import Config, result_stage
from llmcourse.merge.methods import METHODS
from llmcourse.merge.not_finite import sentences
from llmcourse.merge.parents import hub_ids, languages, parent_licences, parents
from llmcourse.merge.recipe import Moe, Parameters, Recipe, Reference

RECIPE_NAME, MOE_RECIPE_NAME = "mergekit_config.yml", "mergekit_moe_config.yml"


@dataclass(frozen=True)
class Row:
    """One line of the table of parents."""

    model: str
    part: str
    parameters: str


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """Pure: the same config, facts and versions give the same card."""
    stage = result_stage(config)
    licence = licences.combine(parent_licences(config, facts))
    name = repo.rpartition("/")[2] if repo else artifact.path.rstrip("/").rpartition("/")[2]
    recipe = _public_recipe(config, facts)
    values = {
        "title": config.card.title or name,
        "place": repo or artifact.path.rstrip("/").rpartition("/")[2],
        "method": _method(stage),
        "is_moe": isinstance(stage, Moe),
        "stages": len(config.merge),
        "seed": config.options.random_seed,
        "parents": [_link(parent.name, parent.hub_id) for parent in parents(config, facts)],
        "rows": [row for part in config.merge for row in _rows(part, config, facts)],
        "donor": _name(stage.references()[0], config, facts),
        "licence_warning": "" if config.card.license else licence.warning,
        "not_finite": list(sentences(artifact.files)),
        "recipe": recipe.rstrip(),
        "fence": fence(recipe),
        "versions": artifact.versions,
    }
    files = {MOE_RECIPE_NAME if isinstance(stage, Moe) else RECIPE_NAME: recipe}
    return Card(_metadata(config, facts, stage, licence.name), values, files)


def _public_recipe(config: Config, facts: Facts) -> str:
    """The recipe as written, but absolute folders by their Hub id or name: it is published."""
    recipe = config.recipe_text()
    for written, model in facts.models.items():
        if isinstance(model, ModelFacts) and written.startswith(("/", "~", "..")):
            recipe = recipe.replace(written, model.hub_id or model.ref.folder.absolute().name)
    return recipe


def _metadata(config: Config, facts: Facts, stage: Recipe | Moe, licence: str) -> CardMetadata:
    ids = hub_ids(config, facts)
    tags = ["merge", "mergekit", "lazymergekit"]
    tags += ["moe", "frankenmoe"] if isinstance(stage, Moe) else [stage.merge_method]
    causal = any(parent.facts.architecture.endswith("ForCausalLM") for parent in parents(config, facts))
    tasks = [parent.facts.card.get("pipeline_tag") for parent in parents(config, facts)]
    pipeline = next((str(task) for task in tasks if task), "text-generation" if causal else None)
    return CardMetadata(
        license=config.card.license or licence,
        language=config.card.language or languages(config, facts),
        pipeline_tag=pipeline,
        base_model=ids,
        base_model_relation="merge",
        tags=list(dict.fromkeys([*tags, *config.card.tags, *ids])),
    )


def _method(stage: Recipe | Moe) -> str:
    if isinstance(stage, Moe):
        return "Mixture of Experts"
    method = METHODS.get(stage.merge_method)
    title = method.title if method else stage.merge_method
    return f"[{title}]({method.url})" if method and method.url else title


def _rows(stage: Recipe | Moe, config: Config, facts: Facts) -> Iterator[Row]:
    if isinstance(stage, Moe):
        yield Row(_name(stage.base_model, config, facts), "base", "")
        for expert in stage.experts:
            prompts = ", ".join(expert.positive_prompts or [])
            yield Row(_name(expert.source_model, config, facts), "expert", _cell(prompts))
        for expert in stage.shared_experts or []:
            yield Row(_name(expert.source_model, config, facts), "shared expert", "")
        return
    for entry in stage.input_models():
        part = "base" if entry.model == stage.base_model else "all layers"
        yield Row(_name(entry.model, config, facts), part, _parameters(entry.parameters))
    for output_slice in stage.output_slices():
        for source in output_slice.sources:
            start, end = source.layer_range
            part = f"layers {start} to {end - 1}"
            yield Row(_name(source.model, config, facts), part, _parameters(source.parameters))
    if stage.base_model and stage.base_model not in [entry.model for entry in stage.input_models()]:
        yield Row(_name(stage.base_model, config, facts), "base", "")


def _parameters(parameters: Parameters | None) -> str:
    return _cell(", ".join(f"{key} {_value(value)}" for key, value in (parameters or {}).items()))


def _value(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _cell(text: str) -> str:
    """Text inside a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _name(reference: Reference, config: Config, facts: Facts) -> str:
    known = {parent.written: _link(parent.name, parent.hub_id) for parent in parents(config, facts)}
    parts = [known.get(part, f"stage {part}") for part in reference.parts]
    return " + ".join(parts)


def _link(name: str, hub_id: str | None) -> str:
    return f"[{hub_id}](https://huggingface.co/{hub_id})" if hub_id else f"{name} (not on the Hub)"
