"""Configs, facts and outcomes for tests that need no model; the CLI's folder for those that do."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.plan import plan
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import Group, Suite, Task
from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Facts, FileFacts, Plan, Status
from tests.planner_facts import LAPTOP, llama_on_the_hub

INSTALLED = {"lm_eval": "0.4.13", "llama_cpp": "0.3.36", "gptqmodel": "7.6.0"}


def config(text: str) -> Config:
    """A config as it would be read from the file e.yaml."""
    return validate(Config, Config.arrange(parse(dedent(text), "e.yaml"), Path("/nowhere")))


def model(name: str = "org/tiny", **changes: Any) -> ModelFacts:
    return llama_on_the_hub(name, **changes)


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
