"""The architectures that exllamav2 knows by name; any other it takes for a Llama, and says so in a log.

Source: exllamav2 0.3.2, exllamav2/architecture.py (the values that `arch_string` is compared with).
"""

from collections.abc import Mapping
from typing import Any

from llmcourse.core.older_names import with_older_names

KNOWN = frozenset(
    {
        "Cohere2ForCausalLM",
        "CohereForCausalLM",
        "DbrxForCausalLM",
        "GPT2LMHeadModel",
        "GPTBigCodeForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "GemmaForCausalLM",
        "GemmoeForCausalLM",
        "Glm4ForCausalLM",
        "GraniteForCausalLM",
        "IndexForCausalLM",
        "InternLM2ForCausalLM",
        "LlamaForCausalLM",
        "LlavaForConditionalGeneration",
        "MiniCPMForCausalLM",
        "Mistral3ForConditionalGeneration",
        "MistralForCausalLM",
        "MixtralForCausalLM",
        "OrionForCausalLM",
        "Phi3ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "Starcoder2ForCausalLM",
        "YiForCausalLM",
    }
)
# Of these two it knows only those that see through Pixtral.
_WITH_PIXTRAL = ("LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration")


def problem_of(config: Mapping[str, Any]) -> str | None:
    """What exllamav2 cannot do with a model of this config.json, None if it can."""
    named = config.get("architectures")
    if not isinstance(named, list) or len(named) != 1:
        return f"its config.json names {len(named) if isinstance(named, list) else 'no'} architectures"
    name = str(named[0])
    vision = config.get("vision_config")
    sees = vision.get("model_type") if isinstance(vision, Mapping) else None
    if name not in KNOWN or (name in _WITH_PIXTRAL and sees != "pixtral"):
        return f"it does not know the architecture {name}"
    return None


def as_exllamav2_reads(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json in its words: no names of transformers 5, and no scaling that says its type twice.

    Of Starcoder 2 it knows a name that files of the first days have.
    """
    result = with_older_names(config)
    if "norm_epsilon" in result:
        result.setdefault("layer_norm_epsilon", result["norm_epsilon"])
    for part in (result, result.get("text_config")):
        scaling = part.get("rope_scaling") if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(scaling, Mapping) and "rope_type" in scaling:
            part["rope_scaling"] = {name: value for name, value in scaling.items() if name != "type"}
    return result
