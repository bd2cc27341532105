"""What gives weights their meaning beside their shapes: heads, positions, activation, by each config.json.

The result gets one of the configurations, so weights of the others are computed with as if they were its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmcourse.core.heads import HEADS, heads_checks, heads_of, value_of
from llmcourse.core.layers import of_text
from llmcourse.core.plan import Check, fail, warn
from llmcourse.merge.layers import Models, facts_of
from llmcourse.merge.recipe import Reference

_PLAIN = ("hidden_act", "num_experts_per_tok", "final_logit_softcapping", "attn_logit_softcapping")
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
# Times the other is still near: 1e-5 and 1e-6 are both usual, and fine-tunes exchange them.
_FAR = 15
# Of rope_parameters (transformers 5) or rope_scaling and keys beside it (before).
_ROPE = ("rope_theta", "partial_rotary_factor", "factor")


def meaning_checks(
    references: Iterable[Reference], models: Models, are_crimes_allowed: bool
) -> Iterator[Check]:
    """Heads that differ are refused; what fine-tunes change for good reasons is told, with the values."""
    found = {str(reference): facts_of(reference, models) for reference in references}
    for name, model in found.items():
        yield from heads_checks(name, model)
    kinds = {model.architecture.casefold() for model in found.values()}
    if len(kinds) > 1 and not are_crimes_allowed:
        return  # which is refused
    said = {name: heads_of(model) for name, model in found.items()}
    for key in HEADS:
        if what := _difference(key, said):
            if are_crimes_allowed:
                yield warn("heads", f"{what}: merged nevertheless, as allow_crimes asks.")
            else:
                yield fail(
                    "heads",
                    f"{what}: matrices of one shape mean different things there.",
                    "Merge models with the same heads, or set options.allow_crimes=true.",
                )
            break
    said = {name: _settings(of_text(model)) for name, model in found.items()}
    donor = next(iter(said))
    for key in dict.fromkeys(key for values in said.values() for key in values):
        if what := _difference(key, said):
            yield warn("config.json", f"{what}; the result has that of {donor}.")


def _difference(key: str, said: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence's beginning where models say different things; those that say nothing do not count."""
    groups: list[tuple[Any, list[str]]] = []
    for name, values in said.items():
        if key not in values:
            continue
        names = next((names for value, names in groups if _is_near(key, value, values[key])), None)
        if names is None:
            groups.append((values[key], [name]))
        else:
            names.append(name)
    listed = " and ".join(f"{value} in {', '.join(names)}" for value, names in groups)
    return f"{key} is {listed}" if len(groups) > 1 else ""


def _is_near(key: str, first: Any, second: Any) -> bool:
    is_number = isinstance(first, float | int) and isinstance(second, float | int)
    if key in _EPSILONS and is_number and min(first, second) > 0:
        return bool(max(first, second) < _FAR * min(first, second))
    return bool(first == second)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key in (*_PLAIN, *_EPSILONS) if (value := value_of(config, key)) is not None}
    if "sliding_window" in config:
        is_used = config.get("use_sliding_window", True)
        found["sliding_window"] = config["sliding_window"] if is_used else None
    rope = config.get("rope_parameters") or config.get("rope_scaling")
    parts: Mapping[str, Any] = rope if isinstance(rope, Mapping) else {}
    if any(isinstance(part, Mapping) for part in parts.values()):  # one for each kind of layer
        for kind, part in parts.items():
            if isinstance(part, Mapping):
                found |= {f"{key} of {kind}": part[key] for key in _ROPE if part.get(key) is not None}
        return found
    for key in _ROPE:
        value = parts.get(key, config.get(key))
        if value is not None:
            found[key] = value
    if "rope_theta" in found or parts:
        found["rope_type"] = parts.get("rope_type", parts.get("type")) or "default"
    return found
