"""What every command that quantizes one model asks of it: its kind, its tokenizer, its licence."""

from collections.abc import Iterator, Mapping
from typing import TypeGuard

from llmcourse.core import licences
from llmcourse.core.config import CardWishes
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.layers import held_layers, stated_layers
from llmcourse.core.model import ModelFacts, is_hub_id
from llmcourse.core.plan import Check, fail, failure, mistake, ok, warn
from llmcourse.core.quantized import left_over_statement, quantization_of, what_instead

# One of these is there where there is a tokenizer; tiktoken's files have names of their own.
TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def reading_checks(
    name: str, model: ModelFacts | LlmcourseError, allow_pickle: bool | None, trust_remote_code: bool
) -> Iterator[Check]:
    """Whether the model `name` can be read, and safely; allow_pickle is None where there is no such key."""
    if isinstance(model, LlmcourseError):
        yield failure(model, name)
        return
    if model.revision:
        yield ok(name, f"readable at commit {model.revision[:12]}")
    if model.is_pickled and not allow_pickle:
        yield fail(
            name,
            f"{name} has pickled weights ({model.weight_files[0]}), which can run code when read.",
            "Use a model with safetensors."
            if allow_pickle is None
            else "Use a model with safetensors, or set allow_pickle=true if you trust it.",
        )
    if trust_remote_code:
        yield warn(
            "trust_remote_code",
            "Code that the model brings will run here and may read what you may, your Hub token among it.",
        )
    elif "auto_map" in model.config:
        yield warn(
            name,
            f"{name} brings code of its own, which is not run: where transformers does not know "
            f"{model.config.get('model_type')} models itself, it cannot be loaded.",
            "Set trust_remote_code=true if you trust it.",
        )


def kind_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    """Whether it is a language model that generates, with weights of all its layers."""
    if "model_index.json" in model.files:
        yield fail(
            name,
            f"{name} is a diffusion pipeline, not a language model.",
            "Give a causal language model.",
        )
    if "modules.json" in model.files:
        yield fail(
            name,
            f"{name} is a sentence-transformers model, not a language model that generates.",
            "Give a causal language model.",
        )
    stated, held = stated_layers(model), held_layers(model)
    if stated is not None and (stated < 1 or stated > held > 0):
        yield fail(
            name,
            f"{name} has {stated} layers by its config.json, and weights of {held}.",
            "Get the model's files anew: config.json and weights do not belong together.",
        )


def weights_checks(name: str, model: ModelFacts, leftover: str | None = None) -> Iterator[Check]:
    """Whether its files hold weights, and not codes that stand for weights.

    `leftover` says what becomes of a configuration that calls weights quantized which are not; without it
    such a model is refused, because the library that gets it would believe the configuration.
    """
    found = quantization_of(model)
    if found:
        yield fail(
            name,
            f"{name} is quantized ({found.label}): {found.evidence}. Such numbers are no weights.",
            what_instead(model, found),
        )
        return
    place = left_over_statement(model)
    if place:
        what = f"{name} is called quantized ({place}), but its tensors are weights in full."
        if leftover:
            yield warn(name, f"{what} {leftover}")
        else:
            yield fail(name, what, f"Remove {place} from a copy of it, and give that.")


def tokenizer_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    has_one = any(file in TOKENIZER_FILES or file.endswith(".tiktoken") for file in model.files)
    if not has_one:
        yield fail(
            name,
            f"{name} has no tokenizer ({', '.join(TOKENIZER_FILES[:3])}).",
            "Copy the tokenizer files of the model it was made from into it.",
        )


def stated_context(model: ModelFacts) -> int | None:
    """The model's context [tokens], by its config.json; of a model of several parts, that of its text."""
    text = model.config.get("text_config")
    places = (text if isinstance(text, Mapping) else {}, model.config)
    found = (part[key] for part in places for key in _CONTEXT_KEYS if isinstance(part.get(key), int))
    return next(found, None)


def adapter_base_checks(name: str, adapter: ModelFacts, base: ModelFacts | None) -> Iterator[Check]:
    """Whether the adapter's card, its adapter_config.json and whoever uses it mean the same base model."""
    stated = adapter.card.get("base_model")
    named = [each for each in (stated if isinstance(stated, list) else [stated]) if is_id(each)]
    written = adapter.config.get("base_model_name_or_path")
    known = [*named, *([written] if is_id(written) and written not in named else [])]
    if is_id(written) and named and written.lower() not in map(str.lower, named):
        used = f"; {base.ref} is used" if base else ""
        yield warn(
            name,
            f"The card of {name} names {' and '.join(named)} as its base model, its adapter_config.json "
            f"{written}{used}.",
            "Make sure of the model it was trained on: on another one it does harm, and says nothing.",
        )
    elif base and base.hub_id and known and base.hub_id.lower() not in map(str.lower, known):
        yield warn(
            name,
            f"{name} was made for {known[0]} by its own word, and is used with {base.hub_id}.",
            "Make sure that both have the same weights: on others it does harm, and says nothing.",
        )


def is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and is_hub_id(value)


def licence_of(wishes: CardWishes, model: ModelFacts) -> str | None:
    """The licence that the config says, else the model's card; lower case, as the Hub writes it."""
    value = wishes.license or model.card.get("license")
    if isinstance(value, list):
        value = value[0] if value else None
    return str(value).lower() if value else None


def licence_checks(name: str, wishes: CardWishes, model: ModelFacts) -> Iterator[Check]:
    """Whether the result's licence is known."""
    if wishes.license and wishes.license not in licences.KNOWN:
        yield mistake(
            "licence",
            f"{wishes.license!r} is no licence the Hub knows.",
            "Use one of its ids, or other.",
        )
        return
    licence = licences.combine({name: licence_of(wishes, model)})
    if licence.warning:
        yield warn("licence", licence.warning, "Set card.license when you know which one applies.")
    else:
        yield ok("licence", f"{licence.name}, the model's own")
