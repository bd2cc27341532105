"""Which tensors and modules mergekit needs of an architecture, by the definitions that it brings.

Source: mergekit 0.1.5, architecture/json_definitions.py, io/tasks.py (LoadTensor), plan.py.
"""

from collections.abc import Iterator, Mapping

from llmcourse.core.plan import Check, fail, mistake
from llmcourse.merge.architectures import Definition, definition_of, definitions, weights
from llmcourse.merge.layers import Member, Models, facts_of, layer_count, members
from llmcourse.merge.recipe import Recipe

_KEY = "mergekit's architectures"
# transformers leaves these buffers out when it saves a model, as it does after a LoRA was merged into it.
_BUFFERS = (".attention.bias", ".masked_bias", ".inv_freq")


def present() -> dict[str, str]:
    """For Facts.present: how many definitions there are, where mergekit is installed."""
    return {_KEY: str(len(definitions()))} if definitions() else {}


def architecture_checks(recipe: Recipe, models: Models, present: Mapping[str, str]) -> Iterator[Check]:
    """Modules that the architecture has not, and tensors that it needs and a model has not."""
    if _KEY not in present:
        return
    found = {ref: definition_of(facts_of(ref, models)) for ref in recipe.references()}
    first = found[recipe.references()[0]]
    if all(found.values()) and first is not None:
        yield from _module_checks(recipe, list(first.get("modules", {"default": first})))
    adapted = {ref.model for ref in recipe.references() if ref.lora}
    for group in members(recipe, models):
        for member in group:
            definition = definition_of(member.facts)
            if definition is None or not member.facts.tensors or not _is_plain(definition):
                continue
            name = member.name.partition("+")[0]
            layers, count = range(member.start, member.end), layer_count(member.facts)
            needed = [names for names, is_optional in weights(definition, layers, count) if not is_optional]
            lacking = next((each for each in needed if not set(each) & member.facts.tensors.keys()), None)
            lost = next((each for each in needed if each[0].endswith(_BUFFERS)), None)
            if lacking:
                yield fail(
                    member.name,
                    f"{name} has no {lacking[0]}, which mergekit wants of a {member.facts.architecture}.",
                    _way_out(lacking, group),
                )
            elif lost and name in adapted:
                yield fail(
                    member.name,
                    f"{lost[0]} of {name} is lost when a LoRA is merged into it, and mergekit needs it.",
                    f"mergekit takes no LoRA on {member.facts.architecture} models: merge whole models.",
                )


def _way_out(lacking: list[str], group: list[Member]) -> str:
    if lacking[0].endswith(_BUFFERS):
        return "Give a model whose files hold it; transformers leaves buffers out when it saves one."
    if len(group) > 1 and not any(set(lacking) & member.facts.tensors.keys() for member in group):
        return "mergekit knows this architecture with it only: give models that are published so."
    return "Get the model's files anew, or give another one."


def _is_plain(definition: Definition) -> bool:
    """Whether checkpoints have one layout; those with experts or several modules are converted by name."""
    templates = definition.get("layer_templates", {"weights": []})["weights"]
    return "modules" not in definition and not any(".experts" in weight["name"] for weight in templates)


def _module_checks(recipe: Recipe, names: list[str]) -> Iterator[Check]:
    for name in recipe.modules or {}:
        if name not in names:
            yield mistake("modules", f"These models have no module {name!r}.", f"Use {', '.join(names)}.")
    if recipe.slices and len(names) > 1:
        yield mistake(
            "slices",
            f"These models have several modules ({', '.join(names)}), and slices are of one.",
            "Write modules: {NAME: {slices: …}}.",
        )
    missing = [name for name in names if recipe.modules and name not in recipe.modules]
    if missing:
        yield mistake("modules", f"The module {missing[0]} is not written, so the result would lack it.",
                      f"Write all of {', '.join(names)}.")  # fmt: skip
