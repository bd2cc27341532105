"""Whether llama.cpp can do something with the model: its kind, its tokenizer, its licence."""

from collections.abc import Iterator

from llmcourse.core import licences
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Facts, fail, failure, ok, warn
from llmcourse.quantize_gguf.config import Config

_TOKENIZERS = ("tokenizer.model", "tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")


def model_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Checks from metadata alone, before llmcourse asks the converter."""
    for name, found in facts.models.items():
        if isinstance(found, LlmcourseError):
            yield failure(found, name)
    model = facts.models[config.model]
    if not isinstance(model, ModelFacts):
        return
    if model.revision:
        yield ok(config.model, f"readable at commit {model.revision[:12]}")
    if model.is_pickled and not config.allow_pickle:
        yield fail(
            config.model,
            f"{config.model} has pickled weights ({model.weight_files[0]}), which can run code when read.",
            "Use a model with safetensors, or set allow_pickle=true if you trust it.",
        )
    if config.trust_remote_code:
        yield warn("trust_remote_code", "Code that the model brings will run on this machine.")
    if "model_index.json" in model.files:
        yield fail(
            config.model,
            f"{config.model} is a diffusion pipeline, not a language model.",
            "Give a causal language model.",
        )
    if config.base and not model.is_adapter:
        yield warn("base", f"{config.model} is no adapter, so base is not used.")
    if "modules.json" in model.files:
        yield fail(
            config.model,
            f"{config.model} is a sentence-transformers model, not a language model that generates.",
            "Give a causal language model.",
        )
    if model.is_adapter:
        yield from _adapter_checks(config, facts, model)
    elif not _has_tokenizer(model):
        yield fail(
            config.model,
            f"{config.model} has no tokenizer ({', '.join(_TOKENIZERS[:3])}).",
            "Copy the tokenizer files of the model it was made from into it.",
        )
    yield from _licence_checks(config, model)


def _has_tokenizer(model: ModelFacts) -> bool:
    return any(name in model.files for name in _TOKENIZERS) or any(
        name.endswith(".tiktoken") for name in model.files
    )


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


def licence_of(config: Config, model: ModelFacts) -> str | None:
    """The licence that the config says, else the model's card; lower case, as the Hub writes it."""
    value = config.card.license or model.card.get("license")
    if isinstance(value, list):
        value = value[0] if value else None
    return str(value).lower() if value else None


def _licence_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    if config.card.license and config.card.license not in licences.KNOWN:
        yield fail(
            "licence",
            f"{config.card.license!r} is no licence the Hub knows.",
            "Use one of its ids, or other.",
        )
        return
    licence = licences.combine({config.model: licence_of(config, model)})
    if licence.warning:
        yield warn("licence", licence.warning, "Set card.license when you know which one applies.")
    else:
        yield ok("licence", f"{licence.name}, the model's own")
