"""The plan of a quantization: types, sizes, tokenizer, disk and time, before any weight is read."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from llmcourse.core.calibration import provenance
from llmcourse.core.console import human_bytes, human_count, human_seconds
from llmcourse.core.errors import ConfigError, LlmcourseError
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import licence_of
from llmcourse.core.plan import Check, Estimate, Facts, FileFacts, Plan, fail
from llmcourse.quality.sizes import CONTEXT, base_bytes
from llmcourse.quantize_gguf.config import Config, Imatrix
from llmcourse.quantize_gguf.model_checks import model_checks
from llmcourse.quantize_gguf.naming import PROJECTOR_PIECE, file_name, metadata, projector_name, quality_piece
from llmcourse.quantize_gguf.type_checks import name_checks, text_checks, type_checks
from llmcourse.quantize_gguf.types import RUN_SECONDS, type_facts

LIBRARIES: tuple[str, ...] = ("llama_cpp", "torch", "transformers", "matplotlib")
EXTRA = "gguf"
READS_TOKENIZERS = True

# The converter with torch and transformers, and a tensor on its way (measured: 0.5 to 0.9 GB).
_CONVERTER_BYTES = 900_000_000
# llama.cpp's buffers while it quantizes (measured: 0.5 GB for 1 B parameters, whatever the type).
_QUANTIZER_BYTES = 500_000_000
_STARTING_S, _CONVERTED = 5, 300e6  # seconds to load the converter, bytes that it writes in one
_HEAD_BYTES = 8_000_000  # metadata and vocabulary of a GGUF file


def questions(config: Config, facts: Facts) -> dict[str, Any] | None:
    """What only llama.cpp and its converter can tell: tokenizer, exact sizes, who wants an imatrix."""
    model = facts.models[config.model]
    known = [*model_checks(config, facts), *name_checks(config), *text_checks(config, facts)]
    if not isinstance(model, ModelFacts) or any(check.status == "fail" for check in known):
        return None
    if model.is_adapter or model.is_pickled:
        return None
    return {
        "tensors": {
            name: {"dtype": tensor.dtype, "shape": tensor.shape, "file": tensor.file}
            for name, tensor in model.tensors.items()
        },
        "download": _code_files(config),
        "card": hashlib.sha256(repr(model.card).encode()).hexdigest()[:12],  # no stamp of a model covers it
        "types": config.types,
        "mmproj": config.mmproj,
        "tensor_types": config.tensor_types,
        "pre_tokenizer": config.pre_tokenizer,
        "converter": config.converter,
        "split": config.split_bytes,
        "texts": _texts(config, facts),
        "imatrix": _sha(facts, config.imatrix.file) if config.imatrix and config.imatrix.file else None,
    }


def plan(config: Config, facts: Facts) -> Plan:
    """Decide all that can be decided; pure, so it is tested without models or llama.cpp."""
    model = facts.models[config.model]
    checks = [*model_checks(config, facts), *name_checks(config), *type_checks(config, facts)]
    checks += [*text_checks(config, facts), *_local_checks(config, facts)]
    if not isinstance(model, ModelFacts):
        return Plan("quantize-gguf", (), (), tuple(checks), Estimate())
    types = wanted_types(config, model)
    sizes = {name: _size(name, model, facts) for name in types}
    return Plan(
        "quantize-gguf",
        _summary(config, facts, model, sizes),
        ("convert", *(["measure the imatrix"] if _makes_imatrix(config) else []), *types),
        tuple(checks),
        _estimate(config, facts, model, sizes),
        _settings(config, facts, model),
        _labels(config, facts, model),
        pieces(config, facts, types),
    )


def _texts(config: Config, facts: Facts) -> dict[str, dict[str, Any]]:
    """What of which text is going to be read."""
    found: dict[str, dict[str, Any]] = {}
    plain = config.imatrix if config.imatrix and not config.imatrix.documents() else None
    for wish in (plain, config.quality):
        if wish and wish.text:
            wanted = max(wish.chunks * CONTEXT, found.get(wish.text, {}).get("wanted", 0))
            found[wish.text] = {"sha256": _sha(facts, wish.text), "wanted": wanted}
    return found


def _local_checks(config: Config, facts: Facts) -> Iterator[Check]:
    if not config.keep_local and facts.publisher is None:
        yield fail(
            "keep_local",
            "Nothing would be left: files are deleted once they are published, and nothing is published.",
            "Add --push REPO_ID, or keep_local: true.",
            ConfigError.exit_code,
        )


def wanted_types(config: Config, model: ModelFacts) -> tuple[str, ...]:
    """The types to make; those of an adapter, which is not quantized further, have a default of their own."""
    if model.is_adapter and "types" not in config.model_fields_set:
        return ("F16",)
    return tuple(config.types)


def pieces(config: Config, facts: Facts, types: tuple[str, ...]) -> tuple[str, ...]:
    """Names of what the result must hold: every type, and the measurement over the text as it is now."""
    if config.mmproj:
        types = (*types, PROJECTOR_PIECE)
    if config.quality is None:
        return types
    text = _sha(facts, config.quality.text)
    return (*types, quality_piece(types, text, config.quality.chunks))


def _settings(config: Config, facts: Facts, model: ModelFacts) -> dict[str, Any]:
    answers = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    settings: dict[str, Any] = {
        "file_name": file_name(model, "{type}"),
        "is_adapter": model.is_adapter,
        "projector_name": projector_name(model),
        "parameters": _parameters(model),
        "download": _code_files(config),
    }
    if model.is_adapter:
        settings["adapter_types"] = wanted_types(config, model)
    if answers:
        settings["pre_tokenizer"] = answers["pre_tokenizer"]
    elif config.pre_tokenizer:  # nobody was asked, as with pickled weights
        settings["pre_tokenizer"] = {"name": config.pre_tokenizer, "how": "given"}
    if config.imatrix:
        settings |= _imatrix_settings(config.imatrix, facts)
    return settings


def _imatrix_settings(wish: Imatrix, facts: Facts) -> dict[str, Any]:
    data = wish.documents()
    if data:
        return {"calibration": provenance(data, facts)}
    return {"imatrix_sha256": _sha(facts, wish.text or str(wish.file))}


def _code_files(config: Config) -> list[str]:
    return ["*.py"] if config.trust_remote_code else []


def _labels(config: Config, facts: Facts, model: ModelFacts) -> dict[str, Any]:
    return {
        "metadata": metadata(model, licence_of(config.card, model), facts.publisher or "llmcourse"),
        "without_weights": [config.base] if config.base else [],
    }


def _sha(facts: Facts, name: str) -> str:
    found = facts.files.get(name)
    return found.sha256 if isinstance(found, FileFacts) else ""


def _makes_imatrix(config: Config) -> bool:
    return bool(config.imatrix and not config.imatrix.file)


def _parameters(model: ModelFacts) -> int:
    return sum(math.prod(tensor.shape) for tensor in model.tensors.values()) or model.weight_bytes // 2


def _size(name: str, model: ModelFacts, facts: Facts) -> int:
    """Bytes of the file of a type: llama.cpp's own word, else from the bits per weight of usual models."""
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    known = answers.get("types", {}).get(name)
    if known:
        return int(known["size"])
    return round(_parameters(model) * type_facts(name).bits / 8) + _HEAD_BYTES


def _described(name: str, size: int, facts: Facts) -> str:
    """A type with its size, and its bits per weight where llama.cpp said them."""
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    bits = answers.get("types", {}).get(name, {}).get("bits_per_weight")
    return f"{name} {human_bytes(size)}" + (f" ({bits:.2f} bits)" if bits else "")


def _seconds(config: Config, types: tuple[str, ...], model: ModelFacts, facts: Facts) -> dict[str, float]:
    """By step, from what this machine took for it before, else from what another one did."""
    parameters = _parameters(model) / 1e9
    cores = facts.machine.cpus
    rate = sum(facts.rates.get(name, type_facts(name).seconds) for name in types)

    def run(name: str, windows: int) -> float:
        return facts.rates.get(name, RUN_SECONDS[name]) * parameters * windows * CONTEXT / 1000 / cores

    made = {"convert and quantize": rate * parameters / cores + _STARTING_S + model.weight_bytes / _CONVERTED}
    if config.imatrix and _makes_imatrix(config):
        made["imatrix"] = run("imatrix", config.imatrix.chunks)
    if windows := _windows(config, facts):
        made["quality"] = run("original", windows) + run("compare", windows) * len(types)
    return made


def _projector_bytes(facts: Facts) -> int:
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    return int(answers.get("projector_bytes", 0))


def _windows(config: Config, facts: Facts) -> int:
    """How many windows are measured: those that are asked for, if the text has so many."""
    if config.quality is None:
        return 0
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    tokens = answers.get("tokens", {}).get(config.quality.text)
    return config.quality.chunks if tokens is None else min(config.quality.chunks, tokens // CONTEXT)


def _estimate(config: Config, facts: Facts, model: ModelFacts, sizes: Mapping[str, int]) -> Estimate:
    converted = 0 if model.is_adapter else model.weight_bytes + _HEAD_BYTES
    stated = model.config.get("vocab_size")
    vocabulary = stated if isinstance(stated, int) else 0
    probabilities = base_bytes(vocabulary, _windows(config, facts), CONTEXT)
    # Without keep_local at most four are here: two that wait for the Hub, two that are being made.
    largest = sorted(sizes.values())[-4:]
    logits = CONTEXT * vocabulary * 4 * 3 if config.quality else 0
    return Estimate(
        download=model.missing_bytes,
        write=_projector_bytes(facts) + sum(sizes.values()) if config.keep_local else sum(largest),
        scratch=converted + probabilities,
        # The weights themselves are mapped, so the system may drop them.
        memory=max(_CONVERTER_BYTES, _QUANTIZER_BYTES + logits),
    )


def _summary(
    config: Config, facts: Facts, model: ModelFacts, sizes: Mapping[str, int]
) -> tuple[tuple[str, str], ...]:
    listed = ", ".join(_described(name, size, facts) for name, size in sizes.items())
    seconds = _seconds(config, tuple(sizes), model, facts)
    steps = " + ".join(f"{human_seconds(value)} {name}" for name, value in seconds.items())
    parameters = human_count(_parameters(model))
    rows = [("model", f"{model.ref} ({model.architecture}, {parameters} parameters)")]
    rows += [
        ("types", listed),
        ("time", f"about {human_seconds(sum(seconds.values()))} on {facts.machine.cpus} cores: {steps}"),
    ]
    if config.mmproj:
        size = human_bytes(_projector_bytes(facts)) if _projector_bytes(facts) else "size unknown"
        rows.append(("projector", f"{projector_name(model)}, {size}"))
    if config.imatrix:
        wish = config.imatrix
        rows.append(("imatrix", wish.file or f"{wish.chunks} chunks of {wish.dataset or wish.text}"))
    if config.quality:
        text = f"{config.quality.chunks} chunks of {config.quality.text}"
        rows.append(("quality", f"perplexity and KL divergence on {text}"))
    if not isinstance(facts.answers, LlmcourseError) and facts.answers:
        found = facts.answers["pre_tokenizer"]
        rows.append(
            ("tokenizer", f"{facts.answers['tokenizer_model']}, pre-tokenizer {found['name'] or 'none'}")
        )
    return tuple(rows)
