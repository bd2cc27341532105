"""The models that are merged with each other, and the settings that apply to each."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmcourse.merge.recipe import OutputModule, Parameters, Recipe, Reference


@dataclass(frozen=True)
class Group:
    """Models that are merged into one slice, with the settings that apply to each, strongest first."""

    label: str
    models: tuple[Reference, ...]
    base: Reference | None
    own: tuple[Parameters | None, ...]  # one entry per model
    shared: tuple[Parameters | None, ...]

    def settings(self, model: Reference | None = None) -> list[Parameters]:
        own = [self.own[self.models.index(model)]] if model in self.models else []
        return [settings for settings in (*own, *self.shared) if settings]


def groups(recipe: Recipe) -> list[Group]:
    """The groups as mergekit's planner makes them: a base that is not listed joins the models."""
    found = []
    modules: Mapping[str, Recipe | OutputModule] = recipe.modules or {"": recipe}
    for name, module in modules.items():
        around = (module.parameters, recipe.parameters) if name else (recipe.parameters,)
        label = f"modules.{name}." if name else ""
        if module.models:
            models = [entry.model for entry in module.models]
            own = [entry.parameters for entry in module.models]
            if recipe.base_model and recipe.base_model not in models:
                models, own = [*models, recipe.base_model], [*own, None]
            found.append(Group(f"{label}models", tuple(models), recipe.base_model, tuple(own), around))
        for index, part in enumerate(module.slices or []):
            sources = tuple(source.model for source in part.sources)
            own = [source.parameters for source in part.sources]
            base = part.base_model or recipe.base_model
            found.append(
                Group(f"{label}slices[{index}]", sources, base, tuple(own), (part.parameters, *around))
            )
    return found
