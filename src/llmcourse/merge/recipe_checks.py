"""What can be said of a merge document by itself: method, inputs, parameters, dtypes.

mergekit finds most of this only after loading, some of it never.  Source of the rules: mergekit 0.1.5,
merge_methods/base.py (InputContract), parameter_resolver.py, plan.py (normalize_config), merge.py.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmcourse.core.plan import Check, mistake, ok, warn
from llmcourse.merge.methods import METHODS, Method, Parameter
from llmcourse.merge.recipe import Moe, OutputModule, Parameters, Recipe, Reference

DTYPES = ("bfloat16", "float16", "float32", "float64")
# mergekit 0.1.5, _data/chat_templates.
# mergekit 0.1.5, moe/*.py (name), lower case; a prefix is enough.
MOE_ARCHITECTURES = ("mixtral", "deepseek moe", "qwen moe", "qwen3 moe")
CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")
_TYPO = 0.75


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


def recipe_checks(recipe: Recipe) -> Iterator[Check]:
    """Every check that needs no model."""
    method = METHODS.get(recipe.merge_method)
    if method is None:
        near = difflib.get_close_matches(recipe.merge_method, METHODS, 1)
        fix = f"Did you mean {near[0]!r}?" if near else f"Use one of: {', '.join(METHODS)}."
        yield mistake("merge_method", f"{recipe.merge_method!r} is no merge method of mergekit.", fix)
        return
    problems = [*_spelling(recipe)]
    for group in groups(recipe):
        problems += _input_checks(recipe.merge_method, method, group)
        problems += _parameter_checks(recipe.merge_method, method, group)
    yield from dict.fromkeys(problems)
    if not any(check.status == "fail" for check in problems):
        yield ok("merge_method", f"{method.title}, {len(recipe.references())} models")


def _spelling(recipe: Recipe) -> Iterator[Check]:
    for key in ("dtype", "out_dtype"):
        value = getattr(recipe, key)
        if value is not None and value.removeprefix("torch.") not in DTYPES:
            yield _choice(key, value, DTYPES)
    template = recipe.chat_template
    if template and template not in CHAT_TEMPLATES and ("{" not in template or len(template) < 20):
        yield _choice("chat_template", template, CHAT_TEMPLATES, " or a Jinja template")


def _choice(key: str, value: str, choices: Sequence[str], more: str = "") -> Check:
    return mistake(key, f"{key} {value!r} is not known.", f"Use one of: {', '.join(choices)}{more}.")


def _input_checks(name: str, method: Method, group: Group) -> Iterator[Check]:
    if len(set(group.models)) < len(group.models):
        twice = next(model for model in group.models if group.models.count(model) > 1)
        yield mistake(group.label, f"{twice} is an input twice in one slice.", "Remove one of the entries.")
    base = group.base if method.base != "ignored" else None
    if method.base == "required" and base is None:
        yield mistake(
            "base_model", f"{name} needs a base_model.", "Add base_model: with the common ancestor."
        )
    elif base is not None and base not in group.models:
        yield mistake(
            "base_model",
            f"The base_model {base} is not among the sources of {group.label}.",
            "Add it as a source there.",
        )
    count, others = len(group.models), len([model for model in group.models if model != base])
    for least, most, number, kind in (
        (method.min_inputs, method.max_inputs, count, ""),
        (method.min_non_base, method.max_non_base, others, " beside the base"),
    ):
        is_short = least is not None and number < least
        if not is_short and (most is None or number <= most):
            continue
        limit = least if is_short else most
        bound = "" if least == most else "at least " if is_short else "at most "
        noun = "model" if limit == 1 else "models"
        yield mistake(
            group.label,
            f"{name} takes {bound}{limit} {noun}{kind}, and here are {number}.",
            "Correct the list of models, or choose another merge_method.",
        )


def _parameter_checks(name: str, method: Method, group: Group) -> Iterator[Check]:
    for settings in (*group.own, *group.shared):
        for key, value in (settings or {}).items():
            yield from _known_parameter(name, method, key, value)
    for key, parameter in method.parameters.items():
        if parameter.is_required:
            yield from _required_parameter(name, key, parameter, group)
    yield from _sense_checks(name, method, group)


def _known_parameter(name: str, method: Method, key: str, value: Any) -> Iterator[Check]:
    parameter = method.parameters.get(key)
    if parameter is None:
        near = difflib.get_close_matches(key, method.parameters, 1, _TYPO)
        if near:
            yield mistake("parameters", f"{name} has no parameter {key!r}.", f"Did you mean {near[0]!r}?")
        else:
            yield warn("parameters", f"mergekit ignores {key!r}: {name} has no such parameter.")
        return
    for scalar in _scalars(value):
        try:
            TypeAdapter(parameter.kind).validate_python(scalar)
        except ValidationError:
            yield mistake(
                "parameters",
                f"{key} is {scalar!r}, which is no {parameter.kind.__name__}.",
                f"Write a {parameter.kind.__name__}, or a list of them as a gradient.",
            )


def _required_parameter(name: str, key: str, parameter: Parameter, group: Group) -> Iterator[Check]:
    owners: list[Reference | None] = [None]
    if parameter.scope != "shared":
        is_base_spared = parameter.scope == "non_base"
        owners = [model for model in group.models if not (is_base_spared and model == group.base)]
    for owner in owners:
        # mergekit takes an empty list for none.
        values = [settings[key] for settings in group.settings(owner) if settings.get(key) not in (None, [])]
        who = f" for {owner}" if owner else ""
        if not values:
            yield mistake(
                "parameters", f"{name} needs {key}{who} in {group.label}.", f"Add parameters: {{{key}: …}}."
            )
        elif not any(_covers_all(value) for value in values):
            yield warn(
                "parameters",
                f"{key}{who} has filters only; a tensor that none of them names stops the merge.",
                "End its list with an entry that has a value and no filter.",
            )


def _sense_checks(name: str, method: Method, group: Group) -> Iterator[Check]:
    """Values mergekit takes silently, or stops at after loading everything."""
    if name == "linear" and _constant(group, None, "normalize", True):
        weights = [_constant(group, model, "weight", None) for model in group.models]
        if all(isinstance(weight, int | float) for weight in weights) and sum(weights) == 0:
            yield mistake("parameters", "The weights sum to zero, and normalize divides by that.",
                       "Change a weight, or set normalize: false.")  # fmt: skip
    for model in (model for model in group.models if model != group.base):
        density = _constant(group, model, "density", None) if "density" in method.parameters else None
        if isinstance(density, int | float) and not 0 <= density <= 1:
            yield warn("parameters", f"The density {density} of {model} is outside 0 to 1; mergekit takes it "
                       f"as {'1' if density > 1 else '0'}.")  # fmt: skip
        if name.startswith("della") and isinstance(density, int | float) and 0 < density < 1:
            epsilon = _constant(group, model, "epsilon", 0.15)
            if isinstance(epsilon, int | float) and not (epsilon < density < 1 - epsilon):
                what = f"{name} needs density ± epsilon inside 0 to 1; {model} has {density} ± {epsilon}."
                yield mistake("parameters", what, "Lower epsilon, or move density to the middle.")


def _constant(group: Group, model: Reference | None, key: str, default: Any) -> Any:
    return next((settings[key] for settings in group.settings(model) if key in settings), default)


def _scalars(value: Any) -> Iterator[Any]:
    """The values inside a scalar, a gradient, a filter entry, or a list of filter entries."""
    if isinstance(value, Mapping):
        yield from _scalars(value.get("value"))
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    else:
        yield value


def _covers_all(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("filter") in (None, "*")
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return any(_covers_all(item) for item in value)
    return True


def moe_checks(moe: Moe) -> Iterator[Check]:
    """The same for mergekit-moe. Source: mergekit 0.1.5, moe/config.py (is_bad_config)."""
    if moe.dtype is not None and moe.dtype.removeprefix("torch.") not in DTYPES:
        yield _choice("dtype", moe.dtype, DTYPES)
    if moe.architecture and not any(name.startswith(moe.architecture.lower()) for name in MOE_ARCHITECTURES):
        yield _choice("architecture", moe.architecture, MOE_ARCHITECTURES)
    if len(moe.experts) < moe.experts_per_token:
        yield mistake("experts_per_token", f"{moe.experts_per_token} experts per token are more than the "
                   f"{len(moe.experts)} there are.", "Lower experts_per_token, or add experts.")  # fmt: skip
    if moe.gate_mode == "random":
        return
    silent = [index for index, expert in enumerate(moe.experts) if not expert.positive_prompts]
    if silent:
        yield mistake("experts", f"Expert {silent[0]} has no positive_prompts.",
                   "Add prompts that should go to it, or set gate_mode: random.")  # fmt: skip
    elif len({_prompts(expert) for expert in moe.experts}) == 1 and len(moe.experts) > 1:
        yield mistake("experts", "All experts have the same prompts.",
                   "Give each the prompts that should go to it.")  # fmt: skip
    if len({expert.source_model for expert in moe.experts}) == 1 and len(moe.experts) > 1:
        yield mistake("experts", "All experts are the same model, so the result equals it.",
                   "Use different models.")  # fmt: skip


def _prompts(expert: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(expert.positive_prompts or ()), tuple(expert.negative_prompts or ())
