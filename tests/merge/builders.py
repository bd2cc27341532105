"""Configs and facts for planner tests: plain values, no files, no network."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from textwrap import dedent

from llmcourse.core.config import validate
from llmcourse.core.documents import parse
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.machine import Machine
from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from llmcourse.core.plan import Facts, Plan, Status
from llmcourse.merge.config import Config
from llmcourse.merge.plan import plan
from tests.model_folders import llama_config, llama_shapes

# As ModelFacts or as the error that reading it gave, by the reference that the config writes.
Models = Mapping[str, ModelFacts | LlmcourseError]

LAPTOP = Machine(cpus=4, memory_bytes=8_000_000_000, total_memory_bytes=12_000_000_000)

# A linear merge that has nothing wrong with it; tests change one thing in it.
LINEAR = """
    models:
      - {model: org/a, parameters: {weight: 0.5}}
      - {model: org/b, parameters: {weight: 0.5}}
    merge_method: linear
"""


def config(text: str) -> Config:
    """A config as it would be read from the file m.yaml."""
    return validate(Config, Config.arrange(parse(dedent(text), "m.yaml"), Path("/nowhere")))


def model(name: str = "org/a", layers: int = 2, hidden: int = 4, vocab: int = 8) -> ModelFacts:
    """A Llama on the Hub whose card says apache-2.0; use dataclasses.replace for others."""
    tensors = {
        key: Tensor(shape, "BF16", 2 * prod(shape), "model.safetensors")
        for key, shape in llama_shapes(layers, hidden, vocab).items()
    }
    size = sum(tensor.nbytes for tensor in tensors.values())
    return ModelFacts(
        ref=ModelRef.parse(name),
        revision="c" * 40,
        config=llama_config(layers, hidden, vocab),
        tensors=tensors,
        weight_files=("model.safetensors",),
        files={"model.safetensors": size, "config.json": 10, "tokenizer.json": 10},
        card={"license": "apache-2.0"},
        hub_id=name.partition("@")[0],
    )


def adapter(name: str) -> ModelFacts:
    """A LoRA on the Hub."""
    tensors = {"lora_A.weight": Tensor((2, 4), "F32", 32, "adapter_model.safetensors")}
    files = {"adapter_model.safetensors": 32, "adapter_config.json": 10}
    settings = {"base_model_name_or_path": "org/a"}
    return ModelFacts(
        ModelRef.parse(name), "d" * 40, settings, tensors, ("adapter_model.safetensors",), files,
        {"license": "apache-2.0"}, is_adapter=True, hub_id=name,
    )  # fmt: skip


def facts(config: Config, models: Models | None = None, machine: Machine = LAPTOP) -> Facts:
    """What is known of every model of the config: what is given, else a default Llama."""
    return Facts(machine, {name: model(name) for name in config.models()} | dict(models or {}))


def plan_of(text: str, models: Models | None = None, machine: Machine = LAPTOP) -> Plan:
    read = config(text)
    return plan(read, facts(read, models, machine))


def said(plan: Plan, status: Status = "fail") -> list[str]:
    """What the checks of one status say and advise, each as one line with the check's name before it."""
    return [
        f"{check.name}: {check.what} {check.fix}".rstrip() for check in plan.checks if check.status == status
    ]
