"""What gives weights their meaning beside their shapes: heads, positions, activation, by each config.json.

The result gets one of the configurations, so weights of the others are computed with as if they were its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail, warn
from llmcourse.merge.layers import Models, facts_of
from llmcourse.merge.recipe import Reference

_HEADS = "num_attention_heads", "num_key_value_heads", "head_dim"
_OLDER = {"num_attention_heads": ("n_head", "n_heads"), "hidden_size": ("n_embd", "d_model"),
          "hidden_act": ("hidden_activation", "activation_function")}  # fmt: skip
_PLAIN = ("hidden_act", "num_experts_per_tok", "final_logit_softcapping", "attn_logit_softcapping")
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
# Times the other is still near: 1e-5 and 1e-6 are both usual, and fine-tunes exchange them.
_FAR = 15
# Of rope_parameters (transformers 5) or rope_scaling and keys beside it (before).
_ROPE = ("rope_theta", "partial_rotary_factor", "factor")
# Whose matrices of q, k and v are heads of one size, with nothing else in them.
_SIMPLE = (
    "llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2",
    "gemma3_text", "phi", "olmo", "olmo2", "olmoe", "granite", "granitemoe", "cohere", "cohere2",
    "starcoder2", "stablelm", "smollm3", "glm4_moe",
)  # fmt: skip
# Without num_key_value_heads transformers takes as many as there are heads; for others a number of its own.
_AS_MANY = ("llama", "phi", "olmo", "olmoe", "granite", "granitemoe", "cohere", "cohere2")
_WIDTH_OF_THEIR_OWN = ("gemma", "gemma2", "gemma3_text", "qwen3", "qwen3_moe", "glm4_moe")
_PROJECTION = re.compile(
    r"^(?:(?:model\.)?(?:language_model\.)?(?:model\.)?)layers\.\d+\.self_attn\.([qkv])_proj\.weight$"
)


def meaning_checks(
    references: Iterable[Reference], models: Models, are_crimes_allowed: bool
) -> Iterator[Check]:
    """Heads that differ are refused; what fine-tunes change for good reasons is told, with the values."""
    found = {str(reference): facts_of(reference, models) for reference in references}
    for name, model in found.items():
        yield from _own_checks(name, model)
    kinds = {model.architecture.casefold() for model in found.values()}
    if len(kinds) > 1 and not are_crimes_allowed:
        return  # which is refused
    said = {name: _heads(model) for name, model in found.items()}
    for key in _HEADS:
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


def _value(config: Mapping[str, Any], key: str) -> Any:
    return next((config[name] for name in (key, *_OLDER.get(key, ())) if config.get(name) is not None), None)


def _heads(model: ModelFacts) -> dict[str, int]:
    """Heads as config.json says them, or as transformers takes them where it does not; {} where per layer."""
    config = of_text(model)
    heads, hidden = _value(config, "num_attention_heads"), _value(config, "hidden_size")
    if not isinstance(heads, int) or not heads:
        return {}
    found = {"num_attention_heads": heads}
    kind = config.get("model_type")
    shared = config.get("num_key_value_heads", None if kind in _AS_MANY else "")
    if shared is None or isinstance(shared, int):
        found["num_key_value_heads"] = heads if shared is None else shared
    width = config.get("head_dim")
    if width is None and isinstance(hidden, int) and kind not in _WIDTH_OF_THEIR_OWN:
        width = hidden // heads
    return found | ({"head_dim": width} if isinstance(width, int) else {})


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key in (*_PLAIN, *_EPSILONS) if (value := _value(config, key)) is not None}
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


def _own_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """Whether the model's own matrices have the heads that its config.json says."""
    said = _heads(model)
    if of_text(model).get("model_type") not in _SIMPLE or len(said) < len(_HEADS):
        return
    counts = {"q": "num_attention_heads", "k": "num_key_value_heads", "v": "num_key_value_heads"}
    for tensor_name, tensor in model.tensors.items():
        match = _PROJECTION.match(tensor_name)
        if match is None:
            continue
        key = counts[match[1]]
        rows = said[key] * said["head_dim"]
        if tensor.shape[0] != rows:
            yield fail(
                name,
                f"config.json of {name} says {said[key]} heads ({key}) of {said['head_dim']} (head_dim), so "
                f"{rows} rows in {tensor_name}, which has {tensor.shape[0]}.",
                "Get the model's files anew: config.json and weights do not belong together.",
            )
            return
