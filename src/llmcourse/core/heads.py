"""Heads of attention: as config.json says them, and whether a model's own matrices have them.

Rows of one matrix mean other things with other heads, and no library looks: the numbers are just wrong.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, fail

HEADS = "num_attention_heads", "num_key_value_heads", "head_dim"
_OLDER = {"num_attention_heads": ("n_head", "n_heads"), "hidden_size": ("n_embd", "d_model"),
          "hidden_act": ("hidden_activation", "activation_function")}  # fmt: skip
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


def heads_of(model: ModelFacts) -> dict[str, int]:
    """Heads as config.json says them, or as transformers takes them where it does not; {} where per layer."""
    config = of_text(model)
    heads, hidden = value_of(config, "num_attention_heads"), value_of(config, "hidden_size")
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


def value_of(config: Mapping[str, Any], key: str) -> Any:
    """What config.json says under this key or an older name of it, None where it says nothing."""
    return next((config[name] for name in (key, *_OLDER.get(key, ())) if config.get(name) is not None), None)


def heads_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """Whether the model's own matrices have the heads that its config.json says."""
    said = heads_of(model)
    if of_text(model).get("model_type") not in _SIMPLE or len(said) < len(HEADS):
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
