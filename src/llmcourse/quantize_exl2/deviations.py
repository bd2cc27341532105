"""Where exllamav2 0.3.2 computes something else than the model means, without a word in its log.

Found by comparing what it predicts with what transformers predicts (tests/quantize_exl2/test_reading.py);
the places in its sources are attn.py (_attn_torch), headnorm.py and rope.py.
"""

from collections.abc import Iterator, Mapping

from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts
from llmcourse.core.older_names import with_older_names
from llmcourse.core.plan import Check, fail, warn
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.sizes import LENGTH

# Those with windows in every other layer, or in most.
_WITH_WINDOWS = ("Cohere2ForCausalLM", "Gemma2ForCausalLM", "Gemma3ForConditionalGeneration")
_WITH_MEANS_OUT = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")
_ELSE = "Evaluate the result where it is to be used, or use quantize-gguf or quantize-gptq."


def deviation_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    stated = with_older_names(of_text(model))
    window = stated.get("sliding_window")
    rows = {
        "calibration.length": config.calibration.length if config.calibration else LENGTH,
        "measurement_length": config.measurement_length,
        "quality": CONTEXT if config.quality else 0,
    }
    longer = [name for name, length in rows.items() if isinstance(window, int) and length > window]
    if model.architecture in _WITH_WINDOWS and longer:
        yield fail(
            "attention",
            f"Layers of {config.model} see {window} tokens, and exllamav2 0.3.2 without flash-attn looks at "
            f"the wrong ones in rows longer than that ({', '.join(longer)}).",
            f"Give a calibration text with a length of {window} at most, and measurement_length: {window}."
            if "quality" not in longer
            else "Use quantize-gguf or quantize-gptq.",
        )
    if model.architecture in _WITH_MEANS_OUT:
        yield warn(
            "attention",
            f"exllamav2 0.3.2 takes the mean out of {config.model}'s queries and keys, here and wherever a "
            "result is loaded: it predicts a little else than the model itself.",
            _ELSE,
        )
    scaling = stated.get("rope_scaling")
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, Mapping) else None
    if kind == "yarn":
        yield warn(
            "positions",
            f"{config.model} scales positions by YaRN, which exllamav2 0.3.2 computes in a way of its own: "
            "it predicts something else than the model itself.",
            _ELSE,
        )
