"""The plan of a merge: everything that can be known from configs and headers, all problems at once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llmcourse.core import licences
from llmcourse.core.errors import ConfigError, LlmcourseError, MissingError
from llmcourse.core.machine import Machine
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import adapter_base_checks, weights_checks
from llmcourse.core.plan import Check, Estimate, Facts, Plan, fail, failure, mistake, ok, warn
from llmcourse.merge.adapter_checks import lora_checks
from llmcourse.merge.architecture_checks import architecture_checks, present
from llmcourse.merge.config import Config, walk_stages
from llmcourse.merge.left_out_checks import asks, config_checks
from llmcourse.merge.looking import ABSENT_TOKENS, CACHE_PROBLEM, look_up
from llmcourse.merge.methods import METHODS
from llmcourse.merge.model_checks import moe_model_checks, range_checks, recipe_model_checks
from llmcourse.merge.options import WITHOUT_EFFECT, MergeOptions, effective_options
from llmcourse.merge.output_model import output_dtype, predicted_output
from llmcourse.merge.parents import parent_licences
from llmcourse.merge.recipe import Moe, Recipe
from llmcourse.merge.recipe_checks import moe_checks, recipe_checks
from llmcourse.merge.value_checks import value_checks

__all__ = ["EXTRA", "LIBRARIES", "foreseen", "look_up", "plan", "present"]

LIBRARIES: tuple[str, ...] = ("mergekit", "torch", "transformers")
EXTRA = "merge"
READS_TOKENIZERS = True

# Python with torch, transformers and mergekit loaded (measured: 0.5 GB of anonymous memory).
_LOADED_BYTES = 600_000_000
# Tensors of the largest size that are alive at once, beside the inputs, which are mapped files.
_SCRATCH_TENSORS = 6
_AMPLE_MEMORY_BYTES = 16_000_000_000


def questions(config: Config, facts: Facts) -> dict[str, Any] | None:
    """What becomes of every tensor, where names alone do not tell; only mergekit's planner knows."""
    models = {name: found for name, found in facts.models.items() if isinstance(found, ModelFacts)}
    known = plan(config, facts)
    if len(models) < len(facts.models) or known.failures or any(m.is_pickled for m in models.values()):
        return None
    stages = list(walk_stages(config))
    if not asks(stages, models):
        return None
    tensors = {
        name: {key: (tensor.dtype, tensor.shape, tensor.file) for key, tensor in model.tensors.items()}
        for name, model in models.items()
        if not model.is_adapter
    }
    return {"tensors": tensors, "options": known.settings["options"], "download": known.settings["download"]}


def plan(config: Config, facts: Facts) -> Plan:
    """Decide all that can be decided; pure, so it is tested without models or network."""
    profile, why = _profile(config, facts.machine)
    # Only a profile that the user wrote may cross architectures; a chosen one must not.
    options = config.options
    if config.profile is None and not options.allow_crimes:
        options = MergeOptions(**options.model_dump(exclude_unset=True) | {"allow_crimes": False})
    effective = effective_options(profile, options)
    checks = [*_reading_checks(config, facts)]
    outputs: list[tuple[Recipe | Moe, ModelFacts]] = []
    checks += _stage_checks(config, facts, effective, outputs)
    checks += _licence_checks(config, facts)
    settings = {
        "profile": profile,
        # Folders of this machine do not belong into a manifest that is published.
        "options": effective.model_dump(
            exclude_defaults=True, exclude={"lora_merge_cache", "transformers_cache"}
        ),
        "write_card": effective.write_model_card,
        "download": ["*.py"] if effective.trust_remote_code else [],
    }
    summary = _summary(config, facts, outputs, f"{profile} ({why})")
    steps = tuple(f"merge {stage.name or 'the result'}" for stage in config.merge)
    return Plan("merge", summary, steps, tuple(checks), _estimate(facts, outputs, effective), settings)


def foreseen(config: Config, facts: Facts) -> ModelFacts | None:
    """What is known of the merge before it is made; None where it cannot be made."""
    outputs: list[tuple[Recipe | Moe, ModelFacts]] = []
    checks = list(_stage_checks(config, facts, config.options, outputs))
    if not outputs or any(check.status == "fail" for check in checks):
        return None
    licence = config.card.license or licences.combine(parent_licences(config, facts)).name
    return replace(outputs[-1][1], card={"license": licence} if licence else {})


def _profile(config: Config, machine: Machine) -> tuple[str, str]:
    if config.profile:
        return config.profile, "as written"
    if config.options.device == "cpu":
        return "cpu-high-ram", "the options name the CPU"
    if config.options.cuda or config.options.device or config.options.gpu_rich:
        return "gpu", "the options name a GPU"
    if machine.gpus:
        return "gpu", f"this machine has {machine.gpus[0].name}"
    if machine.total_memory_bytes >= _AMPLE_MEMORY_BYTES:
        return "cpu-high-ram", "no GPU, ample memory"
    return "cpu", "no GPU"


def _reading_checks(config: Config, facts: Facts) -> Iterator[Check]:
    for name, found in facts.models.items():
        if isinstance(found, LlmcourseError):
            yield failure(found, name)
        elif found.is_pickled and not config.allow_pickle:
            yield fail(
                name,
                f"{name} has pickled weights ({found.weight_files[0]}), which can run code when read.",
                "Use a model with safetensors, or set allow_pickle=true if you trust it.",
            )
        elif found.revision:
            yield ok(name, f"readable at commit {found.revision[:12]}")
    wants = (config.options.cuda, config.options.gpu_rich, config.options.multi_gpu)
    wants_cuda = config.profile == "gpu" or any(wants)
    if (wants_cuda or (config.options.device or "").startswith("cuda")) and not facts.machine.gpus:
        yield fail("gpu", "This machine has no CUDA GPU.", "Use profile: cpu, or a machine with one.",
                   MissingError.exit_code)  # fmt: skip
    elif _device_number(config) >= len(facts.machine.gpus) > 0:
        count = len(facts.machine.gpus)
        what = f"This machine has {count} CUDA GPUs, and device is {config.options.device}."
        yield fail("gpu", what, f"Use cuda:{count - 1} at most.", MissingError.exit_code)
    if CACHE_PROBLEM in facts.present:
        yield fail("lora_merge_cache", facts.present[CACHE_PROBLEM], "Choose a folder of yours.")
    for token, model in json.loads(facts.present.get(ABSENT_TOKENS, "[]")):
        yield mistake("tokenizer.tokens", f"{model} has no token {token!r}.", "Name one that it has.")
    if config.options.trust_remote_code:
        yield warn("trust_remote_code", "Code that the models bring will run on this machine.")
    for name in sorted(WITHOUT_EFFECT & config.options.model_fields_set):
        yield warn("options", f"{name} has no effect here: {MergeOptions.model_fields[name].description}")
    for key in config.ignored_keys:
        yield warn("config", f"mergekit does not know the key {key} and ignores it.")


def _device_number(config: Config) -> int:
    _, _, number = (config.options.device or "").partition(":")
    return int(number or 0)


def _stage_checks(
    config: Config, facts: Facts, options: MergeOptions, outputs: list[tuple[Recipe | Moe, ModelFacts]]
) -> Iterator[Check]:
    """Checks of every stage; what each makes is added to `outputs`, in the order they are made."""
    models = {name: found for name, found in facts.models.items() if isinstance(found, ModelFacts)}
    try:
        stages = list(walk_stages(config))
    except ConfigError as error:
        yield failure(error)
        return
    for stage in config.merge:
        if stage not in stages:
            yield warn("merge", f"The stage {stage.name} is used by no other and is not made.")
    yield from _spelling_checks(models)
    answers = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    if isinstance(facts.answers, LlmcourseError):
        yield failure(facts.answers, "tensors")
    accounts = answers.get("stages") or [None] * len(stages)
    for stage, account in zip(stages, accounts, strict=True):
        written = list(recipe_checks(stage) if isinstance(stage, Recipe) else moe_checks(stage))
        yield from written
        needed = (*stage.references(), *stage.tokenizer_references())
        if not all(part in models for reference in needed for part in reference.parts):
            if isinstance(stage, Recipe):
                yield from range_checks(stage, models)
            continue  # what is missing is said above, or by the stage before
        unusable = [*_adapter_checks(stage, models), *_weights_checks(stage, models)]
        yield from unusable
        if any(check.status == "fail" for check in unusable):
            continue  # neither adapters nor packed codes have shapes that could be compared
        if isinstance(stage, Recipe):
            found = list(recipe_model_checks(stage, models, options, facts.tokenizers, account))
            if not any(check.status == "fail" for check in found):
                found += architecture_checks(stage, models, facts.present)
        else:
            found = list(moe_model_checks(stage, models, facts.tokenizers))
        yield from found
        if any(check.name in ("layer_range", "layers") for check in found if check.status == "fail"):
            continue
        if isinstance(stage, Recipe) and not any(check.status == "fail" for check in [*written, *found]):
            yield from value_checks(stage, models)
        output = predicted_output(stage, models, account and account["written"])
        if account is None and isinstance(stage, Recipe):
            yield from config_checks(
                output, {name: t.shape for name, t in output.tensors.items()}, is_equal=True
            )
        outputs.append((stage, output))
        if stage.name:
            models[stage.name] = output


def _spelling_checks(models: dict[str, ModelFacts]) -> Iterator[Check]:
    """Models that are written in two ways are two to mergekit; a folder has no revisions."""
    written: dict[tuple[str, str | None], str] = {}
    for name, facts in models.items():
        ref = facts.ref
        if ref.is_local and name not in (ref.path, f"hf://{ref.path}"):
            yield warn(
                name, f"{ref.path} is a folder, which has no revisions: {name} is the folder as it is."
            )
        place = (str(ref.place) if ref.is_local else ref.path, facts.revision)
        if written.setdefault(place, name) != name:
            what = f"{written[place]} and {name} are the same model, counted twice as in mergekit."
            yield warn(name, what)


def _adapter_checks(stage: Recipe | Moe, models: dict[str, ModelFacts]) -> Iterator[Check]:
    for reference in stage.references():
        if models[reference.model].is_adapter:
            named = models[reference.model].config.get("base_model_name_or_path") or "its base model"
            yield fail(
                str(reference), f"{reference.model} is a LoRA adapter, not a model.",
                f"Write it as {named}+{reference.model}.",
            )  # fmt: skip
        if reference.lora and not models[reference.lora].is_adapter:
            yield fail(
                str(reference), f"{reference.lora} is no LoRA adapter.", "Write model+lora, in this order."
            )
        elif reference.lora:
            lora, base = models[reference.lora], models[reference.model]
            yield from adapter_base_checks(reference.lora, lora, base)
            if not base.is_adapter:
                yield from lora_checks(reference.lora, lora, reference.model, base)


def _weights_checks(stage: Recipe | Moe, models: dict[str, ModelFacts]) -> Iterator[Check]:
    """Whether what gives weights has any: merging codes gives noise of the right shape."""
    givers = [*stage.references(), *stage.embedding_references()]
    for name in dict.fromkeys(part for reference in givers for part in reference.parts):
        yield from weights_checks(name, models[name], "The result's config.json does not say it.")


def _licence_checks(config: Config, facts: Facts) -> Iterator[Check]:
    if config.card.license:
        if config.card.license not in licences.KNOWN:
            yield mistake(
                "licence",
                f"{config.card.license!r} is no licence the Hub knows.",
                "Use one of its ids, or other.",
            )
        return
    if any(isinstance(found, LlmcourseError) for found in facts.models.values()):
        return
    licence = licences.combine(parent_licences(config, facts))
    if licence.warning:
        yield warn("licence", licence.warning, "Set card.license when you know which one applies.")
    else:
        yield ok("licence", f"{licence.name}, the most restrictive of the parents'")


def _summary(
    config: Config, facts: Facts, outputs: list[tuple[Recipe | Moe, ModelFacts]], profile: str
) -> tuple[tuple[str, str], ...]:
    stage = outputs[-1][0] if outputs else config.merge[-1]
    method = "mixture of experts" if isinstance(stage, Moe) else _title(stage)
    stages = f", in {len(config.merge)} stages" if len(config.merge) > 1 else ""
    rows = [("method", f"{method}{stages}"), ("models", ", ".join(config.models())), ("profile", profile)]
    if outputs:
        models = {name: found for name, found in facts.models.items() if isinstance(found, ModelFacts)}
        models |= {made.name: output for made, output in outputs if made.name}
        rows.append(("dtype", output_dtype(stage, models)))
    return tuple(rows)


def _title(stage: Recipe) -> str:
    method = METHODS.get(stage.merge_method)
    return method.title if method else stage.merge_method


def _estimate(
    facts: Facts, outputs: list[tuple[Recipe | Moe, ModelFacts]], options: MergeOptions
) -> Estimate:
    models = [found for found in facts.models.values() if isinstance(found, ModelFacts)]
    largest = max((tensor.nbytes for _, out in outputs for tensor in out.tensors.values()), default=0)
    pickled = max((found.files[file] for found in models if found.is_pickled for file in found.weight_files),
                  default=0)  # fmt: skip
    loras = max((found.weight_bytes for found in models), default=0) if _has_lora(outputs) else 0
    working = _SCRATCH_TENSORS * largest + pickled + 2 * loras
    uses_gpu = options.cuda or options.device not in (None, "cpu")
    return Estimate(
        download=sum(found.missing_bytes for found in models),
        write=sum(out.weight_bytes for _, out in outputs) + loras,
        memory=_LOADED_BYTES + working,
        vram=working if uses_gpu else 0,
    )


def _has_lora(outputs: list[tuple[Recipe | Moe, ModelFacts]]) -> bool:
    return any(reference.lora for stage, _ in outputs for reference in stage.references())
