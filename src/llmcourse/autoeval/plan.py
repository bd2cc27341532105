"""The plan of an evaluation: suite, tasks, models, memory, rights, before anything is loaded."""

import hashlib
from collections.abc import Iterator
from typing import Any

from llmcourse.autoeval.catalog import FORM
from llmcourse.autoeval.chat_checks import chat_checks
from llmcourse.autoeval.config import Config
from llmcourse.autoeval.data_checks import data_checks, look_further, missing_bytes
from llmcourse.autoeval.gguf_header import gguf_checks
from llmcourse.autoeval.gguf_header import look_up as look_up_gguf
from llmcourse.autoeval.model_checks import backend_of, device_of, model_checks, names_of, needed_bytes
from llmcourse.autoeval.publishing import checks as publishing
from llmcourse.autoeval.references import look_up as look_up_references
from llmcourse.autoeval.references import reference_checks
from llmcourse.autoeval.runpod import offers, returning
from llmcourse.autoeval.suite import Suite
from llmcourse.autoeval.suites import suite_of
from llmcourse.autoeval.task_checks import task_checks
from llmcourse.autoeval.units import units_of
from llmcourse.core import extras
from llmcourse.core.errors import LlmcourseError, Problems
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Check, Estimate, Facts, FileFacts, Plan, failure, warn

__all__ = [
    "EXTRA",
    "LIBRARIES",
    "extra",
    "libraries",
    "look_further",
    "look_up",
    "plan",
    "present",
    "questions",
]

LIBRARIES: tuple[str, ...] = ("lm_eval", "torch", "transformers", "datasets", "matplotlib")
EXTRA = "eval"

# lm-eval, torch and transformers with a task's prompts: an estimate (0.6 GB in bench/autoeval.py).
_LIBRARY_BYTES = 1_200_000_000
_CPU_BATCH = 4  # lm-eval finds what fits by running out of memory, which on a CPU ends the process
_RESULT_BYTES = 20_000  # of a task
_OPTIONAL = ("llama_cpp", "gptqmodel", "vllm")


def libraries(config: Config) -> tuple[str, ...]:
    """What this machine needs; a rented one has its own."""
    if config.engine == "runpod":
        return ("runpod", "matplotlib")
    return (*LIBRARIES, "ray") if config.engine == "ray" else LIBRARIES


def extra(config: Config) -> str:
    """What installs it."""
    return {"local": "eval", "ray": "eval,ray", "runpod": "runpod"}[config.engine]


def present() -> dict[str, str]:
    """Versions of lm-eval and of what some models need."""
    found = {name: extras.library_version(name) for name in ("lm_eval", *_OPTIONAL)}
    return {name: stated for name, stated in found.items() if stated}


def look_up(config: Config) -> dict[str, str]:
    """What GitHub, the Hub, RunPod and the files named answer, as JSON for Facts.present."""
    asked = (publishing.look_up, offers.look_up, returning.look_up, look_up_references, look_up_gguf)
    return {name: text for look in asked for name, text in look(config).items()}


def questions(config: Config, facts: Facts) -> dict[str, Any] | None:
    """Which of the tasks lm-eval has, which only it can tell; and what the models' files say of chats."""
    suite = _readable_suite(config)
    if suite is None or "lm_eval" not in facts.present:
        return None
    # The answer is kept by these: that of another lm-eval, or in another form, is another one.
    known_by = {"lm_eval": facts.present["lm_eval"], "form": FORM}
    asked = {"tasks": sorted({task.name for task in suite.tasks()}), **known_by}
    models = sorted(name for name, model in facts.models.items() if isinstance(model, ModelFacts))
    return asked | {"models": models}


def plan(config: Config, facts: Facts) -> Plan:
    """Decide all that can be decided; pure but for the suite's file."""
    checks = [*reference_checks(config, facts), *model_checks(config, facts), *gguf_checks(config, facts)]
    checks += _runtime_checks(config)
    suite = _readable_suite(config)
    if suite is None:
        return Plan("autoeval", (), (), (*checks, *_suite_problems(config)), Estimate())
    checks += [*task_checks(config, suite, facts), *chat_checks(config, suite, facts)]
    checks += [*data_checks(config, suite, facts), *publishing.publish_checks(config, facts)]
    models = [
        {"model": name, "name": shown, "backend": backend_of(config, name, facts)}
        for name, shown in names_of(config, facts).items()
    ]
    units = units_of(suite, [model | {"path": ""} for model in models])
    if config.engine == "runpod":
        checks += offers.runpod_checks(config, facts, offers.read_offers(facts), _task_count(suite))
        checks += returning.returning_checks(facts)
    report = f"report:{_reference_key(config, facts)}"
    return Plan(
        "autoeval",
        _summary(config, facts, suite, len(units)),
        tuple(dict.fromkeys(task.name for task in suite.tasks())),
        tuple(checks),
        _estimate(config, facts, len(units)),
        _settings(config, facts, suite, models),
        {
            "written": [model["model"] for model in models],
            "paths": {name: str(path) for name, path in config.gguf_files().items()},
            "report": report,
            **offers.labels(config, facts),
        },
        (*(unit.piece for unit in units), report),
    )


def _task_count(suite: Suite) -> int:
    return len({task.name for task in suite.tasks()})


def _settings(config: Config, facts: Facts, suite: Suite, models: list[dict[str, str]]) -> dict[str, Any]:
    """What decides figures.  It is published, so models have their shown names only."""
    used = {"gguf": "llama_cpp", "gptq": "gptqmodel", "vllm": "vllm"}
    needed = {used[model["backend"]] for model in models if model["backend"] in used}
    return {
        "suite": suite.model_dump(mode="json"),
        "models": [{"name": model["name"], "backend": model["backend"]} for model in models],
        "gguf": {
            names_of(config, facts)[name]: file.sha256
            for name in config.gguf_files()
            if isinstance(file := facts.files.get(name), FileFacts)
        },
        "device": device_of(config, facts),
        "batch_size": batch_size_of(config, facts),
        "parallelize": _is_spread(config, facts),
        "gpus": max(1, len(facts.machine.gpus)),
        "versions": {"lm-eval": facts.present.get("lm_eval", "of the pod")}
        | {name: facts.present.get(name, "of the pod") for name in sorted(needed)},
        "download": ["*.py"] if config.runtime.trust_remote_code else [],
    }


def batch_size_of(config: Config, facts: Facts) -> int | str:
    """Sequences at once: what the config says, else what lm-eval finds to fit on a GPU."""
    if config.runtime.batch_size != "auto":
        return config.runtime.batch_size
    return _CPU_BATCH if device_of(config, facts) == "cpu" else "auto"


def _is_spread(config: Config, facts: Facts) -> bool:
    """Whether the largest model is spread over all GPUs, since one does not hold it."""
    gpus = facts.machine.gpus
    return len(gpus) > 1 and needed_bytes(config, facts) > max(gpu.memory_bytes for gpu in gpus)


def _readable_suite(config: Config) -> Suite | None:
    try:
        return suite_of(config)
    except LlmcourseError:
        return None  # what is wrong with it is a check of the plan


def _suite_problems(config: Config) -> Iterator[Check]:
    try:
        suite_of(config)
    except Problems as problems:
        yield from map(failure, problems.errors)
    except LlmcourseError as error:
        yield failure(error, "suite")


def _runtime_checks(config: Config) -> Iterator[Check]:
    if config.runtime.limit is not None:
        yield warn(
            "runtime.limit",
            f"Only {config.runtime.limit} samples a task: a trial, whose figures are of no use to others.",
        )
    if config.runtime.trust_remote_code:
        yield warn("trust_remote_code", "Code that the model brings will run on this machine.")


def _reference_key(config: Config, facts: Facts) -> str:
    """Of what is drawn beside the results: other references, another report."""
    found = [facts.files.get(name) for name in config.reference_files()]
    parts = ",".join(file.sha256 for file in found if isinstance(file, FileFacts))
    return hashlib.sha256(parts.encode()).hexdigest()[:12]


def _estimate(config: Config, facts: Facts, units: int) -> Estimate:
    models = [model for model in facts.models.values() if isinstance(model, ModelFacts)]
    if config.engine == "runpod":
        return Estimate(write=units * _RESULT_BYTES)
    needed = needed_bytes(config, facts)
    on_gpu = device_of(config, facts) == "cuda"
    return Estimate(
        download=sum(model.missing_bytes for model in models) + missing_bytes(facts),
        write=units * _RESULT_BYTES,
        memory=_LIBRARY_BYTES + (0 if on_gpu else needed),
        vram=0 if _is_spread(config, facts) or not on_gpu else needed,
    )


def _summary(config: Config, facts: Facts, suite: Suite, units: int) -> tuple[tuple[str, str], ...]:
    names = list(names_of(config, facts).values())
    tasks = _task_count(suite)
    return (
        ("models", ", ".join(names)),
        ("suite", f"{suite.label} ({tasks} tasks in {len(suite.groups)} groups)"),
        ("engine", config.engine if config.engine != "local" else f"local, on {device_of(config, facts)}"),
    )
