"""Configs, facts and outcomes for tests that need no model; the CLI's folder for those that do."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from textwrap import dedent
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.plan import plan
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import Group, Suite, Task
from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from llmcourse.core.plan import Facts, FileFacts, Plan, Status
from tests.model_folders import llama_config, llama_shapes

LAPTOP = Machine(cpus=4, memory_bytes=8_000_000_000, total_memory_bytes=12_000_000_000)
WITH_GPU = replace(LAPTOP, gpus=(Gpu("RTX", 24_000_000_000),))
INSTALLED = {"lm_eval": "0.4.13", "llama_cpp": "0.3.36", "gptqmodel": "7.6.0"}


def config(text: str) -> Config:
    """A config as it would be read from the file e.yaml."""
    return validate(Config, Config.arrange(parse(dedent(text), "e.yaml"), Path("/nowhere")))


def model(name: str = "org/tiny", **changes: Any) -> ModelFacts:
    """A Llama on the Hub with a tokenizer."""
    tensors = {
        key: Tensor(shape, "BF16", 2 * prod(shape), "model.safetensors")
        for key, shape in llama_shapes().items()
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    files = {"model.safetensors": size, "config.json": 10, "tokenizer.json": 10}
    facts = ModelFacts(
        ModelRef.parse(name), "c" * 40, llama_config(), tensors, ("model.safetensors",), files,
        {"license": "apache-2.0"}, hub_id=name.partition("@")[0],
    )  # fmt: skip
    return replace(facts, **changes)


def plan_of(text: str, **changes: Any) -> Plan:
    """The plan of a config; `changes` are fields of Facts."""
    read = config(text)
    models: Mapping[str, Any] = {name: model(name) for name in read.models()} | dict(
        changes.pop("models", {})
    )
    files = {name: FileFacts(50_000_000, "ab" * 32) for name in read.files()} | dict(changes.pop("files", {}))
    facts = Facts(
        changes.pop("machine", LAPTOP), models, files, present=changes.pop("present", INSTALLED), **changes
    )
    return plan(read, facts)


def said(plan: Plan, status: Status = "fail") -> list[str]:
    """What the checks of one status say and advise, each as one line with the check's name before it."""
    return [
        f"{check.name}: {check.what} {check.fix}".rstrip() for check in plan.checks if check.status == status
    ]


def outcome(task: str, value: float = 0.5, *, metric: str = "acc,none", **changes: Any) -> TaskResult:
    """A task's outcome on org/tiny with one metric."""
    result = TaskResult(
        "org/tiny",
        task,
        "1.0",
        0,
        {metric: value},
        {metric: 0.01},
        {"acc": True, "acc_norm": True},
        100,
        10.0,
    )
    return replace(result, **changes)


def suite(*groups: Group, **changes: Any) -> Suite:
    return Suite(name="nous", version=2, groups=list(groups), **changes)


def group(name: str, *tasks: str, **changes: Any) -> Group:
    return Group(name=name, tasks=[Task(name=task) for task in tasks], **changes)


def by_model(*results: TaskResult) -> dict[str, dict[str, TaskResult]]:
    found: dict[str, dict[str, TaskResult]] = {}
    for result in results:
        found.setdefault(result.model, {})[result.task] = result
    return found


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
