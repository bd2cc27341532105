"""The plan of a quantization to GPTQ: what fits, what is needed, from metadata alone."""

import math
from collections.abc import Iterator
from typing import Any

from llmcourse.core.calibration import calibration_checks, provenance, revision_of
from llmcourse.core.checks import device_checks
from llmcourse.core.console import human_bytes, human_count, human_seconds
from llmcourse.core.environments import pinned
from llmcourse.core.errors import ConfigError, MissingError
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import (
    kind_checks,
    licence_checks,
    reading_checks,
    stated_context,
    tokenizer_checks,
    weights_checks,
)
from llmcourse.core.plan import Check, Estimate, Facts, FileFacts, Plan, fail, warn
from llmcourse.core.vocabulary_checks import padding_checks, vocabulary_checks
from llmcourse.quality.checks import quality_checks
from llmcourse.quality.sizes import CONTEXT, base_bytes
from llmcourse.quantize_gptq.auto_gptq import MODEL_TYPES, WORKER
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.layout import linears, result_bytes
from llmcourse.quantize_gptq.shape_checks import shape_checks

LIBRARIES: tuple[str, ...] = ("gptqmodel", "torch", "transformers", "optimum", "datasets", "matplotlib")
EXTRA = "gptq"
READS_TOKENIZERS = True

RATE = "seconds per 10^9 parameters and 10^6 tokens on {device}"
_GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
# Libraries and buffers of a run on the processor (measured: 1.1 GB before the first layer).
_LIBRARY_BYTES = 1_500_000_000
_LAYERS_IN_MEMORY = 4  # as loaded, in 32 bits for the solver, and packed


def plan(config: Config, facts: Facts) -> Plan:
    """Decide all that can be decided; pure, so it is tested without models or libraries."""
    model = facts.models[config.model]
    checks = [*reading_checks(config.model, model, None, config.trust_remote_code)]
    checks += [*_device_checks(config, facts), *calibration_checks(config.calibration, facts)]
    checks += [*quality_checks(config.quality, config.calibration, facts), *_mock_checks(config, facts)]
    if not isinstance(model, ModelFacts):
        return Plan("quantize-gptq", (), (), tuple(checks), Estimate())
    checks += [*_model_checks(config, model), *shape_checks(config, model)]
    checks += vocabulary_checks(config.model, model, facts.tokenizers.get(config.model), tokens_matter=False)
    checks += [*_auto_gptq_checks(config, model), *licence_checks(config.model, config.card, model)]
    return Plan(
        "quantize-gptq",
        _summary(config, facts, model),
        ("read the calibration", "quantize", "reload and generate", *(["measure"] if config.quality else [])),
        tuple(checks),
        _estimate(config, facts, model),
        _settings(config, facts, model),
        pieces=pieces(config, facts),
    )


def pieces(config: Config, facts: Facts) -> tuple[str, ...]:
    """The checkpoint, and the measurement on the text as it is now."""
    if config.quality is None or config.dry_run:
        return ("checkpoint",)
    return ("checkpoint", f"quality:{_text_sha256(config, facts)[:12]}-{config.quality.chunks}")


def device_of(config: Config, facts: Facts) -> str:
    """Where it is computed; auto is the GPU where there is one."""
    return ("cuda" if facts.machine.gpus else "cpu") if config.device == "auto" else config.device


def _text_sha256(config: Config, facts: Facts) -> str:
    found = facts.files.get(config.quality.text) if config.quality else None
    return found.sha256 if isinstance(found, FileFacts) else ""


def _device_checks(config: Config, facts: Facts) -> Iterator[Check]:
    device = device_of(config, facts)
    if config.backend == "auto-gptq" and device != "cuda":
        yield fail(
            "backend",
            "auto-gptq quantizes on a CUDA device only, and there is none here."
            if not facts.machine.gpus
            else f"auto-gptq quantizes on a CUDA device only, not on {device}.",
            "Use backend: gptqmodel, which needs none, or a machine with an NVIDIA GPU.",
            MissingError.exit_code,
        )
    else:
        yield from device_checks(device, facts.machine, "device")


def _mock_checks(config: Config, facts: Facts) -> Iterator[Check]:
    if config.dry_run is None:
        return
    if facts.publisher is not None:
        yield fail(
            "dry_run",
            "A mock run computes nothing, so its result is not published.",
            "Add --no-push, or leave dry_run out.",
            ConfigError.exit_code,
        )
    else:
        yield warn("dry_run", "A mock run computes nothing; its weights are of no use.")


def _model_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    yield from kind_checks(config.model, model)
    if model.is_adapter:
        yield fail(
            config.model,
            f"{config.model} is a LoRA adapter.",
            "Merge it into its base model first: llmcourse merge.",
        )
        return
    packed = list(weights_checks(config.model, model))
    yield from packed
    if packed:
        pass
    elif not model.architecture.endswith(_GENERATING) or model.config.get("is_encoder_decoder"):
        yield fail(
            config.model,
            f"{config.model} ({model.architecture}) is no language model that generates.",
            "Give a causal language model.",
        )
    if config.method == "awq" and model.config.get("model_type") == "gpt2":
        yield fail("method", "gptqmodel's AWQ does not fit the layers of GPT-2.", "Use method: gptq.")
    yield from tokenizer_checks(config.model, model)
    yield from padding_checks(config.model, model)
    yield from _context_checks(config, model)


def _context_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    """gptqmodel cuts windows that are longer than the model's context, and says so in its log alone."""
    stated = stated_context(model)
    if stated is None:
        return
    if config.calibration.length > stated:
        yield fail(
            "calibration.length",
            f"Windows of {config.calibration.length} tokens are longer than the model's context of {stated}.",
            f"Set calibration.length={stated}.",
        )
    if config.quality and stated < CONTEXT:
        yield fail(
            "quality",
            f"The model's context of {stated} tokens is shorter than the {CONTEXT} that are measured.",
            "Leave quality out.",
        )


def _auto_gptq_checks(config: Config, model: ModelFacts) -> Iterator[Check]:
    kind = str(model.config.get("model_type"))
    if config.backend == "auto-gptq" and kind not in MODEL_TYPES:
        yield fail(
            "backend",
            f"auto-gptq knows no {kind} models; it was archived before they came.",
            "Use backend: gptqmodel.",
        )


def _settings(config: Config, facts: Facts, model: ModelFacts) -> dict[str, Any]:
    return {
        "calibration": provenance(config.calibration, facts),
        "device": device_of(config, facts),
        "revision": revision_of(config.calibration, facts),
        "dtype": dtype_of(config, model),
        "parameters": _parameters(model),
        "weights": list(model.weight_files),
        "download": ["*.py"] if config.trust_remote_code else [],
        **({"dependencies": pinned(WORKER)} if config.backend == "auto-gptq" else {}),
    }


def dtype_of(config: Config, model: ModelFacts) -> str:
    """What is not quantized keeps the model's own 16 bits; 32 bits become float16, as kernels want it.

    auto-gptq has float16 throughout.
    """
    if config.dtype != "auto":
        return config.dtype
    stored = {tensor.dtype for tensor in model.tensors.values()}
    return "bfloat16" if "BF16" in stored and config.backend == "gptqmodel" else "float16"


def _parameters(model: ModelFacts) -> int:
    return sum(math.prod(tensor.shape) for tensor in model.tensors.values())


def _estimate(config: Config, facts: Facts, model: ModelFacts) -> Estimate:
    layers = list(linears(model))
    written = result_bytes(config, model) + sum(
        size for name, size in model.files.items() if name.startswith("tokenizer")
    )
    largest = max((layer.rows * layer.columns for layer in layers), default=0)
    widest = max((layer.columns for layer in layers), default=0)
    hidden = min((layer.columns for layer in layers), default=0)
    activations = 2 * config.calibration.tokens * hidden * 2
    working = _LAYERS_IN_MEMORY * 7 * largest * 4 + 3 * widest**2 * 4 + activations
    on_gpu = device_of(config, facts) == "cuda"
    measured = 0
    # Finished layers, the checkpoint to go on from, the packed weights.
    scratch = written * 3 + config.calibration.tokens * 4
    if config.quality:
        stated = model.config.get("vocab_size")
        vocabulary = stated if isinstance(stated, int) else 0
        measured = model.weight_bytes + 4 * CONTEXT * vocabulary * 4
        scratch += base_bytes(vocabulary, config.quality.chunks, CONTEXT)
    return Estimate(
        download=model.missing_bytes,
        write=written,
        scratch=scratch,
        memory=_LIBRARY_BYTES + (0 if on_gpu else max(working, measured)),
        vram=max(working, measured) if on_gpu else 0,
    )


def _summary(config: Config, facts: Facts, model: ModelFacts) -> tuple[tuple[str, str], ...]:
    source = config.calibration.dataset or ", ".join(
        path.name for path in config.calibration.files().values()
    )
    amount = f"{config.calibration.samples} x {config.calibration.length} tokens of {source}"
    size = result_bytes(config, model)
    group = "a whole row" if config.group_size == -1 else config.group_size
    rows = [
        ("model", f"{model.ref} ({model.architecture}, {human_count(_parameters(model))} parameters)"),
        ("method", f"{config.method}, {config.bits} bits, groups of {group}, with {config.backend}"),
        ("size", f"{human_bytes(size)} instead of {human_bytes(model.weight_bytes)}"),
        ("calibration", amount),
        ("device", device_of(config, facts)),
    ]
    rate = facts.rates.get(RATE.format(device=device_of(config, facts)))
    if rate:
        seconds = rate * _parameters(model) / 1e9 * config.calibration.tokens / 1e6
        rows.append(("time", f"about {human_seconds(seconds)} to quantize"))
    if config.quality:
        text = f"{config.quality.chunks} chunks of {config.quality.path.name}"
        rows.append(("quality", f"perplexity and KL divergence on {text}"))
    return tuple(rows)
