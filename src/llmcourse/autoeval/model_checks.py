"""What is asked of the models: that they can be read, by what, on what, and that they fit."""

from collections.abc import Iterator
from itertools import chain, count

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.results import slug
from llmcourse.core.checks import device_checks
from llmcourse.core.errors import ConfigError, LlmcourseError, MissingError
from llmcourse.core.model import ModelFacts, ModelRef, expanded
from llmcourse.core.model_checks import kind_checks, reading_checks, tokenizer_checks
from llmcourse.core.plan import Check, Facts, FileFacts, fail, failure

# backend -> (library, extra that brings it)
_BACKENDS = {"gguf": ("llama_cpp", "gguf"), "gptq": ("gptqmodel", "gptq"), "vllm": ("vllm", "vllm")}
_QUANTIZED = ("gptq", "awq", "gptq_v2")
# Beside weights: activations and the logits of a batch, an estimate.
_WORKING_BYTES = 1_000_000_000


def names_of(config: Config, facts: Facts) -> dict[str, str]:
    """What the result calls each model, by what the config writes: a Hub id, or a name without its folder.

    No two are alike, also as names of files; models of the Hub have the first choice.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for written in sorted(config.model, key=lambda written: _is_here(written, facts)):
        if written not in names:
            name = _name(written, facts)
            choices = chain([name], (f"{name}-{number}" for number in count(2)))
            names[written] = next(choice for choice in choices if slug(choice).casefold() not in taken)
            taken.add(slug(names[written]).casefold())
    return {written: names[written] for written in config.model}


def _is_here(written: str, facts: Facts) -> bool:
    model = facts.models.get(written)
    return not isinstance(model, ModelFacts) or model.ref.is_local


def _name(written: str, facts: Facts) -> str:
    if written in facts.files:
        return expanded(written).name
    model = facts.models.get(written)
    if not isinstance(model, ModelFacts):
        return written
    return str(model.ref) if not model.ref.is_local else model.hub_id or model.name


def backend_of(config: Config, name: str, facts: Facts) -> str:
    """What runs the model: what the config says, else what its files ask for."""
    if config.runtime.backend != "auto":
        return config.runtime.backend
    if name in config.gguf_files():
        return "gguf"
    return "gptq" if _quantization(facts.models.get(name)) in _QUANTIZED else "hf"


def device_of(config: Config, facts: Facts) -> str:
    """Where it is computed; auto is the GPU where there is one."""
    if config.engine == "runpod":
        return "cuda"
    if config.engine == "ray" and config.runtime.device == "auto":
        return "cuda" if config.ray.gpus_per_task else "cpu"
    return (
        ("cuda" if facts.machine.gpus else "cpu")
        if config.runtime.device == "auto"
        else config.runtime.device
    )


def needed_bytes(config: Config, facts: Facts) -> int:
    """Memory of the largest model while it is evaluated."""
    models = [model for model in facts.models.values() if isinstance(model, ModelFacts)]
    files = (facts.files.get(name) for name in config.gguf_files())
    sizes = [_loaded_bytes(config, model) for model in models]
    sizes += [file.size for file in files if isinstance(file, FileFacts)]
    return max(sizes, default=0) + _WORKING_BYTES


def _loaded_bytes(config: Config, model: ModelFacts) -> int:
    wide = config.runtime.dtype == "float32" and all(
        tensor.dtype in ("BF16", "F16") for tensor in model.tensors.values()
    )
    return model.weight_bytes * (2 if wide else 1)


def _quantization(model: object) -> str:
    stated = model.config.get("quantization_config") if isinstance(model, ModelFacts) else None
    return str(stated.get("quant_method", "")) if isinstance(stated, dict) else ""


def model_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Each model, what runs it, and the device."""
    yield from _device_checks(config, facts)
    for name in config.model:
        found = facts.files.get(name) if name in config.gguf_files() else facts.models.get(name)
        if isinstance(found, ModelFacts):
            yield from _folder_checks(config, name, found)
        elif isinstance(found, LlmcourseError):
            yield failure(_explained(name, found), name)
        yield from _backend_checks(config, name, facts)


def _explained(name: str, error: LlmcourseError) -> LlmcourseError:
    if not ModelRef.parse(name).is_local and "GGUF" in error.what:
        error.fix = "Download the file you mean, and give its path."
    return error


def _folder_checks(config: Config, name: str, model: ModelFacts) -> Iterator[Check]:
    yield from reading_checks(name, model, None, trust_remote_code=False)
    yield from kind_checks(name, model)
    if model.is_adapter:
        yield fail(name, f"{name} is a LoRA adapter.", "Merge it into its base model first: llmcourse merge.")
        return
    yield from tokenizer_checks(name, model)
    if _quantization(model) == "exl2":
        yield fail(
            name, f"{name} is quantized to EXL2, which lm-eval does not run.", "Evaluate another format."
        )


def _backend_checks(config: Config, name: str, facts: Facts) -> Iterator[Check]:
    backend = backend_of(config, name, facts)
    is_gguf = name in config.gguf_files()
    if is_gguf != (backend == "gguf"):
        yield fail(
            "runtime.backend",
            f"{name} is {'a' if is_gguf else 'no'} GGUF file, which backend: {backend} does not run.",
            "Use backend: auto.",
            ConfigError.exit_code,
        )
    library, extra = _BACKENDS.get(backend, ("", ""))
    if library and config.engine != "runpod" and library not in facts.present:
        how = "pip install vllm" if library == "vllm" else f"pip install 'llmcourse[{extra}]'"
        yield fail(
            library,
            f"{name} is run by {library}, which is not installed.",
            f"Run: {how}",
            MissingError.exit_code,
        )


def _device_checks(config: Config, facts: Facts) -> Iterator[Check]:
    device = device_of(config, facts)
    if config.engine == "runpod" or (config.ray.address and config.engine == "ray"):
        return  # of other machines
    yield from device_checks(device, facts.machine, "runtime.device")
