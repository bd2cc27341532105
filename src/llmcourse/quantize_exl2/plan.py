"""The plan: sizes, GPU memory, disk, and what is still to be installed, before any weight is read."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llmcourse.core.calibration import calibration_checks, enough_tokens, provenance
from llmcourse.core.console import human_bytes, human_count
from llmcourse.core.environments import pinned
from llmcourse.core.errors import LlmcourseError, MissingError
from llmcourse.core.layers import stated_layers
from llmcourse.core.machine import Machine
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Estimate, Facts, FileFacts, Plan, fail, failure, ok, warn
from llmcourse.quality.checks import quality_checks
from llmcourse.quality.sizes import CONTEXT, base_bytes
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.extension import present
from llmcourse.quantize_exl2.model_checks import model_checks
from llmcourse.quantize_exl2.naming import MEASUREMENT, WORKER, quality_piece, width_name
from llmcourse.quantize_exl2.pins import CUDA, cuda_of
from llmcourse.quantize_exl2.sizes import (
    LENGTH,
    gpu_bytes,
    hidden_size,
    memory_bytes,
    result_bytes,
    scratch_bytes,
    shape_of,
)

__all__ = ["EXTRA", "LIBRARIES", "plan", "present"]

# exllamav2 lives in an environment of its own, whose packages the worker's header pins.
LIBRARIES: tuple[str, ...] = ()
EXTRA = "exl2"
READS_TOKENIZERS = True

# Beside the weights: configuration, tokenizer, chat template, licence texts, what a vision model needs.
_KEPT_SUFFIXES = (".json", ".model", ".jinja", ".txt", ".tiktoken")
_NOT_KEPT = (".index.json", "llmcourse.json", "measurement.json")
_LONG = 2048
_SURROGATE = re.compile("[\ud800-\udfff]")


def plan(config: Config, facts: Facts) -> Plan:
    """Decide all that can be decided; pure, so it is tested without a GPU."""
    checks = [*model_checks(config, facts), *_text_checks(config, facts), *machine_checks(config, facts)]
    model = facts.models[config.model]
    if not isinstance(model, ModelFacts):
        return Plan("quantize-exl2", (), (), tuple(checks), Estimate())
    return Plan(
        "quantize-exl2",
        _summary(config, facts, model),
        _steps(config, facts),
        tuple(checks),
        _estimate(config, model),
        _settings(config, facts, model),
        {"gpu": _gpu(facts.machine)},
        _pieces(config, facts),
    )


def _text_checks(config: Config, facts: Facts) -> Iterator[Check]:
    if config.calibration:
        wish = config.calibration
        rows = max(wish.samples, -(-config.measurement_rows * config.measurement_length // wish.length))
        for check in calibration_checks(wish.model_copy(update={"samples": rows}), facts):
            is_short = check.status == "fail" and "calibration.samples=" in check.fix
            yield replace(check, fix=_enough(config, facts)) if is_short else check
        if wish.dataset and "datasets" not in facts.present:
            yield failure(
                MissingError(
                    "The library datasets is not installed.",
                    "Run: pip install 'llmcourse[exl2]'",
                    "calibration",
                )
            )
    measurement = facts.files.get(config.measurement or "")
    if isinstance(measurement, LlmcourseError):
        yield failure(measurement, MEASUREMENT)
    yield from quality_checks(config.quality, config.calibration, facts)
    longest = max(config.calibration.length if config.calibration else LENGTH, config.measurement_length)
    if longest > _LONG:
        yield warn("length", f"Rows of {longest} tokens take much more GPU memory than those of {_LONG}.")


def _enough(config: Config, facts: Facts) -> str:
    """Settings for which the texts suffice, of calibration and of the measurement on the same text."""
    assert config.calibration
    found = [facts.files[name] for name in config.calibration.files()]
    tokens = max(1, enough_tokens(sum(file.size for file in found if isinstance(file, FileFacts))))
    length, measured = min(config.calibration.length, tokens), min(config.measurement_length, tokens)
    wanted = {
        "calibration.length": (config.calibration.length, length),
        "calibration.samples": (config.calibration.samples, tokens // length),
        "measurement_length": (config.measurement_length, measured),
        "measurement_rows": (config.measurement_rows, tokens // measured),
    }
    lower = [f"{key}={most}" for key, (asked, most) in wanted.items() if most < asked]
    return f"Give more text, or set {' '.join(lower)}."


def machine_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """A GPU with memory enough to measure on, and what the first run installs and compiles."""
    if not facts.machine.gpus:
        yield fail(
            "GPU",
            "EXL2 needs an NVIDIA GPU with CUDA, and none was found here.",
            "Run it where nvidia-smi lists one; quantize-gguf and quantize-gptq work on the processor.",
            MissingError.exit_code,
        )
        # What else the first run needs is told, and refused where there is a GPU.
        yield from (replace(check, status="warn") for check in _first_run_checks(facts))
        return
    yield ok("GPU", facts.machine.gpus[_gpu(facts.machine) or 0].name)
    yield from _first_run_checks(facts)
    model = facts.models[config.model]
    if config.quality and isinstance(model, ModelFacts) and model.weight_bytes > facts.machine.vram_bytes:
        yield fail(
            "quality",
            f"The GPU's memory does not hold the unquantized model ({human_bytes(model.weight_bytes)}).",
            "Leave quality out, or measure on a larger GPU.",
        )


def _first_run_checks(facts: Facts) -> Iterator[Check]:
    """The environment of exllamav2, and its extension."""
    if "environment" in facts.present:
        yield ok("environment", "exllamav2 is installed in an environment of its own")
    elif "uv" not in facts.present:
        what = "uv, which builds the environment of exllamav2, is not installed."
        yield fail("uv", what, "Run: pip install 'llmcourse[exl2]'", MissingError.exit_code)
    else:
        yield ok("environment", "the first run installs exllamav2 in one of its own (5.4 GB in the cache)")
    if "extension" in facts.present:
        yield ok("extension", "exllamav2's extension is compiled")
    else:
        yield from _compiler_checks(facts)


def _compiler_checks(facts: Facts) -> Iterator[Check]:
    version = facts.present.get("nvcc", "")
    if cuda_of(version) != CUDA:
        found = f"nvcc {version} was found" if version else "no nvcc was found"
        yield fail(
            "nvcc",
            f"exllamav2's extension is compiled on the first run by nvcc of CUDA {CUDA}, and {found}.",
            f"Install the CUDA toolkit {CUDA}, or set CUDA_HOME to where it is.",
            MissingError.exit_code,
        )
    elif "c++" not in facts.present:
        yield fail(
            "c++",
            "exllamav2's extension is compiled on the first run, and there is no C++ compiler.",
            "Install g++.",
            MissingError.exit_code,
        )
    else:
        yield ok("nvcc", f"{version}; the first run compiles exllamav2's extension, which takes minutes")


def _gpu(machine: Machine) -> int | None:
    """The converter takes the first GPU it sees; of several it is shown the one with most free memory."""
    if len(machine.gpus) < 2:
        return None
    return max(range(len(machine.gpus)), key=lambda index: machine.gpus[index].memory_bytes)


def _quality_text(config: Config) -> str | None:
    return config.quality.text if config.quality else None


def _pieces(config: Config, facts: Facts) -> tuple[str, ...]:
    pieces = (MEASUREMENT, *map(width_name, config.bits_per_weight))
    text = facts.files.get(_quality_text(config) or "")
    return (*pieces, quality_piece(config, text.sha256)) if isinstance(text, FileFacts) else pieces


def _steps(config: Config, facts: Facts) -> tuple[str, ...]:
    steps = [] if "environment" in facts.present else ["install exllamav2 in an environment of its own"]
    steps += [] if "extension" in facts.present else ["compile its extension"]
    steps += ["take the measurement" if config.measurement else "measure"]
    steps += map(width_name, config.bits_per_weight)
    return (*steps, *(["quality"] if config.quality else []))


def _settings(config: Config, facts: Facts, model: ModelFacts) -> dict[str, Any]:
    measurement = facts.files.get(config.measurement or "")
    return {
        "dependencies": pinned(WORKER),
        "files": _files(model),
        "layers": stated_layers(model),
        "calibration": provenance(config.calibration, facts) if config.calibration else {},
        "measurement_sha256": measurement.sha256 if isinstance(measurement, FileFacts) else None,
    }


def _files(model: ModelFacts) -> list[str]:
    """What of the model's folder the converter sees: it copies all but weights into each result.

    A name that is no UTF-8 can be neither recorded nor published.
    """
    small = [
        name
        for name in model.files
        if (name.endswith(_KEPT_SUFFIXES) and not name.endswith(_NOT_KEPT)) or name.startswith("LICENSE")
    ]
    return sorted(name for name in {*small, *model.weight_files} if not _SURROGATE.search(name))


def _estimate(config: Config, model: ModelFacts) -> Estimate:
    vocabulary = shape_of(model).embedding // max(1, hidden_size(model))
    quality = base_bytes(vocabulary, config.quality.chunks, CONTEXT) if config.quality else 0
    return Estimate(
        download=model.missing_bytes,
        write=sum(result_bytes(model, bits, config.head_bits) for bits in config.bits_per_weight),
        scratch=scratch_bytes(config, model) + quality,
        memory=memory_bytes(config, model),
        vram=gpu_bytes(config, model),
    )


def _summary(config: Config, facts: Facts, model: ModelFacts) -> tuple[tuple[str, str], ...]:
    parameters = sum(math.prod(tensor.shape) for tensor in model.tensors.values())
    sizes = [
        f"{width_name(bits)} {human_bytes(result_bytes(model, bits, config.head_bits))}"
        for bits in config.bits_per_weight
    ]
    source = config.calibration.dataset or config.calibration.text if config.calibration else None
    named = ", ".join(source) if isinstance(source, list) else source
    rows = [
        ("model", f"{model.ref} ({model.architecture}, {human_count(parameters)} parameters)"),
        ("results", f"{', '.join(sizes)}; output layer of {config.head_bits} bits"),
        ("measurement", config.measurement or "measured once, used for every result"),
        ("calibration", named or "the library's own set"),
    ]
    if config.quality:
        text = f"{config.quality.chunks} windows of {config.quality.text}"
        rows.append(("quality", f"perplexity and KL divergence on {text}"))
    return tuple(rows)
