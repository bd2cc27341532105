"""What planners are told in tests: machines, and a Llama on the Hub as its metadata describes it."""

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from tests.model_folders import llama_config, llama_shapes

LAPTOP = Machine(cpus=4, memory_bytes=8_000_000_000, total_memory_bytes=12_000_000_000)
WITH_GPU = replace(LAPTOP, gpus=(Gpu("RTX", 24_000_000_000),))


def llama_on_the_hub(
    name: str = "org/tiny",
    *,
    files_beside: Iterable[str] = ("tokenizer.json",),
    scale: int = 1,
    **changes: Any,
) -> ModelFacts:
    """A Llama in one file, whose card says apache-2.0; `files_beside` are there too.

    `scale` widens its matrices, `changes` are fields of ModelFacts.
    """
    shapes = {key: tuple(side * scale for side in shape) for key, shape in llama_shapes().items()}
    tensors = {
        key: Tensor(shape, "BF16", 2 * prod(shape), "model.safetensors") for key, shape in shapes.items()
    }
    sizes = {"model.safetensors": sum(tensor.nbytes for tensor in tensors.values())}
    sizes |= dict.fromkeys(("config.json", *files_beside), 10)
    facts = ModelFacts(
        ModelRef.parse(name), "c" * 40, llama_config(vocab=8 * scale), tensors, ("model.safetensors",), sizes,
        {"license": "apache-2.0"}, hub_id=name.partition("@")[0],
    )  # fmt: skip
    return replace(facts, **changes)
