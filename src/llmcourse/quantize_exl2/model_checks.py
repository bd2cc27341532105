"""Whether exllamav2 can do something with the model."""

from collections.abc import Iterator

from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import kind_checks, licence_checks, reading_checks, weights_checks
from llmcourse.core.plan import Check, Facts, fail, ok
from llmcourse.core.vocabulary_checks import vocabulary_checks
from llmcourse.quantize_exl2.architectures import KNOWN, problem_of
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.deviations import deviation_checks


def model_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Checks from metadata alone."""
    name, model = config.model, facts.models[config.model]
    yield from reading_checks(name, model, allow_pickle=True, trust_remote_code=False)
    if not isinstance(model, ModelFacts):
        return
    yield from kind_checks(name, model)
    if model.is_adapter:
        yield fail(name, f"{name} is a LoRA adapter.", "Merge it into its base model first.")
    elif model.is_pickled:
        yield fail(
            name,
            f"{name} has pickled weights ({model.weight_files[0]}); exllamav2 reads safetensors only.",
            "Give a model with safetensors, or convert it.",
        )
    elif packed := list(weights_checks(name, model)):
        yield from packed
    else:
        yield from _architecture_checks(name, model)
        yield from deviation_checks(config, model)
        yield from vocabulary_checks(name, model, facts.tokenizers.get(name), tokens_matter=False)
    yield from licence_checks(name, config.card, model)


def _architecture_checks(name: str, model: ModelFacts) -> Iterator[Check]:
    problem = problem_of(model.config)
    if problem:
        yield fail(
            name,
            f"exllamav2 0.3.2 cannot convert {name}: {problem}.",
            f"Give a model of one of: {', '.join(sorted(KNOWN))}.",
        )
    else:
        yield ok("architecture", f"{model.architecture} is one that exllamav2 0.3.2 knows")
    if "tokenizer.json" not in model.files:
        yield fail(
            name,
            f"{name} has no tokenizer.json; exllamav2 reads no other tokenizer since 0.3.1.",
            "Load its tokenizer with transformers and save it again, which writes one.",
        )
