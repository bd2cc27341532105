"""Whether llama.cpp can do something with the model."""

from collections.abc import Iterator

from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import (
    adapter_base_checks,
    kind_checks,
    licence_checks,
    reading_checks,
    tokenizer_checks,
)
from llmcourse.core.plan import Check, Facts, fail, warn
from llmcourse.core.vocabulary_checks import vocabulary_checks
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.packed_weights import packed_weights_checks
from llmcourse.quantize_gguf.tensor_checks import tensor_checks


def model_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Checks from metadata alone, before llmcourse asks the converter."""
    name, model = config.model, facts.models[config.model]
    yield from reading_checks(name, model, config.allow_pickle, config.trust_remote_code)
    if config.base and not isinstance(facts.models[config.base], ModelFacts):
        yield from reading_checks(config.base, facts.models[config.base], True, False)
    if not isinstance(model, ModelFacts):
        return
    if config.base and not model.is_adapter:
        yield warn("base", f"{name} is no adapter, so base is not used.")
    yield from kind_checks(name, model)
    if model.is_adapter:
        yield from _adapter_checks(config, facts, model)
    else:
        yield from tokenizer_checks(name, model)
        yield from packed_weights_checks(name, model)
        yield from tensor_checks(name, model)
        # Of sentencepiece's vocabularies the converter leaves out what has no embedding.
        is_strict = "tokenizer.model" not in model.files
        yield from vocabulary_checks(name, model, facts.tokenizers.get(name), tokens_matter=is_strict)
    yield from licence_checks(name, config.card, model)


def _adapter_checks(config: Config, facts: Facts, adapter: ModelFacts) -> Iterator[Check]:
    if config.base is None:
        named = adapter.config.get("base_model_name_or_path") or "org/name"
        yield fail(
            config.model,
            f"{config.model} is a LoRA adapter; the configuration of its base model is needed too.",
            f"Add base: {named} to convert the adapter, or merge the two first.",
        )
    if config.quality or config.imatrix:
        yield fail(
            "quality" if config.quality else "imatrix",
            "An adapter is converted by itself, so there is nothing to measure.",
            "Leave imatrix and quality out.",
        )
    base = facts.models.get(config.base or "")
    if isinstance(base, ModelFacts) and base.is_adapter:
        yield fail("base", f"{config.base} is an adapter itself.", "Name the model that both are for.")
    elif isinstance(base, ModelFacts) and config.base:
        yield from adapter_base_checks(config.model, adapter, base)
        # Its weights are not read, but the converter looks at what its config.json says of them.
        yield from (check for check in packed_weights_checks(config.base, base) if check.status == "fail")
