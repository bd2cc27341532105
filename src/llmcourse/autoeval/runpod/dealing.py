"""Which pod evaluates what: units are spread over pods by model and group, and become configs."""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmcourse
from llmcourse.autoeval.units import Unit

_SNAPSHOT = re.compile(r"snapshots[/\\]([0-9a-f]{40})$")
# Pods run what the client runs; what a pod has no use for is left out.
_KEPT = ("runtime", "samples")


_SUITE = "suite.yaml"


@dataclass(frozen=True)
class PodJob:
    """One run of `llmcourse autoeval` on a pod: its config without `hub`, its suite, its units."""

    config: Mapping[str, Any]
    suite: Mapping[str, Any]
    units: tuple[Unit, ...]

    def as_json(self, repository: str, branch: str) -> dict[str, Any]:
        """Config and suite as texts; each result is published as soon as it is there."""
        hub = {"repo": repository, "private": True, "revision": branch}
        config = {**self.config, "suite": _SUITE, "hub": hub, "output": branch}
        return {"config": json.dumps(config), "files": {_SUITE: json.dumps(self.suite)}}


def deal(units: Sequence[Unit], pods: int) -> list[list[Unit]]:
    """Units for each of at most `pods` pods, a model's group on one pod, each pod about as many tasks."""
    parts: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        parts.setdefault((unit.model, unit.group), []).append(unit)
    hands: list[list[Unit]] = [[] for _ in range(min(pods, len(parts)))]
    for part in sorted(parts.values(), key=len, reverse=True):
        min(hands, key=len).extend(part)
    return hands


def pod_jobs(units: Sequence[Unit], job_config: Mapping[str, Any], suite: Mapping[str, Any]) -> list[PodJob]:
    """Configs for a pod's units; models that share all their tasks share a run, and so the data.

    Revisions of one repository are runs of their own: what a run calls a model does not tell them apart.
    """
    tasks_of: dict[str, list[Unit]] = {}
    for unit in units:
        tasks_of.setdefault(unit.model, []).append(unit)
    alike: dict[tuple[Any, ...], list[str]] = {}
    for model, own in tasks_of.items():
        tasks = tuple(sorted((unit.group, unit.task.name) for unit in own))
        known = [key for key in alike if key[0] == tasks]
        fitting = [key for key in known if repository_of(model) not in map(repository_of, alike[key])]
        alike.setdefault(fitting[0] if fitting else (tasks, len(known)), []).append(model)
    return [
        _pod_job([unit for model in models for unit in tasks_of[model]], job_config, suite)
        for models in alike.values()
    ]


def _pod_job(units: Sequence[Unit], job_config: Mapping[str, Any], suite: Mapping[str, Any]) -> PodJob:
    wanted = {(unit.group, unit.task.name) for unit in units}
    groups = []
    for group in suite["groups"]:
        tasks = [task for task in group["tasks"] if (group["name"], task["name"]) in wanted]
        groups += [{**group, "tasks": tasks}] if tasks else []
    models = list(dict.fromkeys(pinned(unit) for unit in units))
    config = {name: job_config[name] for name in _KEPT if name in job_config}
    config |= {"model": models, "engine": "local", "publish": {"partial": True}}
    return PodJob(config, {**suite, "groups": groups}, tuple(units))


def pinned(unit: Unit) -> str:
    """The model at the commit that the plan saw, whatever is pushed to it meanwhile."""
    commit = _SNAPSHOT.search(str(unit.path))
    return f"{repository_of(unit.model)}@{commit[1]}" if commit else unit.model


def repository_of(model: str) -> str:
    """A model's reference without its revision."""
    return model.removeprefix("hf://").partition("@")[0]


def start_command() -> str:
    """What the pod starts: the supervisor from its environment. No image needs to hold any of it."""
    code = "import os,zlib,base64;exec(zlib.decompress(base64.b64decode(os.environ['LLMCOURSE_SUPERVISOR'])))"
    return f'python3 -c "{code}"'


def supervisor_variable() -> str:
    """LLMCOURSE_SUPERVISOR: the supervisor's text."""
    text = Path(__file__).with_name("supervisor.py").read_bytes()
    return base64.b64encode(zlib.compress(text, 9)).decode()


def task_variable(task: Mapping[str, Any]) -> str:
    """LLMCOURSE_POD: what the supervisor is to do."""
    return base64.b64encode(json.dumps(task).encode()).decode()


def read_task_variable(text: str) -> dict[str, Any]:
    """What a pod of ours was told to do."""
    data: dict[str, Any] = json.loads(base64.b64decode(text))
    return data


def usual_package(named: str | None) -> list[str]:
    """What pip installs on the pod: this version, or what LLMCOURSE_PACKAGE names."""
    return [named] if named else [f"llmcourse[eval]=={llmcourse.__version__}"]
