"""What can be said of a merge document by itself: method, inputs, parameters, dtypes.

mergekit finds most of this only after loading, some of it never.  Source of the rules: mergekit 0.1.5,
merge_methods/base.py (InputContract), parameter_resolver.py, plan.py (normalize_config), merge.py.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import Environment, TemplateSyntaxError

from llmcourse.core.plan import Check, mistake, ok, warn
from llmcourse.merge.groups import Group, groups
from llmcourse.merge.methods import METHODS, Method, Parameter
from llmcourse.merge.options import DTYPES
from llmcourse.merge.recipe import Moe, Recipe, Reference
from llmcourse.merge.settings import numbers, problem_of
from llmcourse.merge.value_checks import density_warnings

# mergekit 0.1.5, _data/chat_templates.
# mergekit 0.1.5, moe/*.py (name), lower case; a prefix is enough.
MOE_ARCHITECTURES = ("mixtral", "deepseek moe", "qwen moe", "qwen3 moe")
CHAT_TEMPLATES = ("auto", "alpaca", "chatml", "exaone", "llama3", "mistral")
_TYPO = 0.75
# Outside these the result is not finite, is the base itself, or is never there.
_TINY = 1e-30
_BOUNDS: dict[str, tuple[float, float | None]] = {
    "max_iter": (0, 100_000), "tol": (0, None), "eps": (_TINY, None), "epsilon": (_TINY, None),
    "select_topk": (0, 1), "gamma": (0, 1),
}  # fmt: skip


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
    if not any(check.status == "fail" for check in problems):
        problems += [check for group in groups(recipe) for check in density_warnings(method, group)]
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
    elif template and template not in CHAT_TEMPLATES:
        yield from _template_checks(template)


def _template_checks(template: str) -> Iterator[Check]:
    """Whether it is Jinja as transformers reads it, whose own tag marks what an assistant generates."""
    plain = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", template)
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
    except TemplateSyntaxError as error:
        what = f"chat_template is no Jinja template: {error.message} (line {error.lineno})."
        yield mistake("chat_template", what, "Correct it, or name one of mergekit's templates.")


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


def _known_parameter(name: str, method: Method, key: str, value: Any) -> Iterator[Check]:
    parameter = method.parameters.get(key)
    near = [] if parameter else difflib.get_close_matches(key, method.parameters, 1, _TYPO)
    if near:
        yield mistake("parameters", f"{name} has no parameter {key!r}.", f"Did you mean {near[0]!r}?")
        return
    problem = problem_of(value, parameter.kind if parameter else None)
    if problem:
        yield mistake("parameters", f"{key} {problem[0]}.", f"{problem[1]}.")
    elif parameter is None:
        yield warn("parameters", f"mergekit ignores {key!r}: {name} has no such parameter.")
    else:
        yield from _bounds_checks(name, key, parameter, value)


def _bounds_checks(name: str, key: str, parameter: Parameter, value: Any) -> Iterator[Check]:
    least, most = _BOUNDS.get(key, (None, None))
    if name.startswith("dare") and key == "density":
        least = 0  # other methods take less as 0
    for number in numbers(value, parameter.kind):
        if (least is not None and number < least) or (most is not None and number > most):
            bounds = "above 0" if least == _TINY else f"of at least {least:g}"
            bounds = bounds if most is None else f"from {least:g} to {most:g}"
            what = f"{key} is {number:g}, which {name} makes nothing of."
            yield mistake("parameters", what, f"Write a number {bounds}.")
            return


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


def moe_checks(moe: Moe) -> Iterator[Check]:
    """The same for mergekit-moe. Source: mergekit 0.1.5, moe/config.py (is_bad_config)."""
    if moe.dtype is not None and moe.dtype.removeprefix("torch.") not in DTYPES:
        yield _choice("dtype", moe.dtype, DTYPES)
    if moe.architecture and not any(name.startswith(moe.architecture.lower()) for name in MOE_ARCHITECTURES):
        yield _choice("architecture", moe.architecture, MOE_ARCHITECTURES)
    for expert in [*moe.experts, *(moe.shared_experts or [])]:
        if any(
            not text.strip() for text in [*(expert.positive_prompts or []), *(expert.negative_prompts or [])]
        ):
            yield mistake(
                "experts", f"A prompt of {expert.source_model} is empty.", "Write one, or leave it out."
            )
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
