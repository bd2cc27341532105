"""Whether what flows through a model fits into float16: one window through it before it is quantized."""

import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from llmcourse.core.errors import PlanError
from llmcourse.core.machine import this_machine
from llmcourse.core.progress import Progress
from llmcourse.quantize_gptq.config import Config

_LAYER = re.compile(r"[A-Za-z_.]+\.\d+")  # model.layers.7, transformer.h.0
_MOST_TOKENS = 512
_MEMORY_SHARE = 0.8


def check_activations(
    config: Config, settings: dict[str, Any], folder: Path, window: list[int], progress: Progress
) -> None:
    """Run `window` through the model in float16, where that is what it will be computed in.

    What does not fit into memory as a whole is watched layer by layer while it is quantized (`watch_layers`).

    Raises:
        PlanError: a module's output is no number, with the module's name.
    """
    if settings["dtype"] != "float16":
        return
    if 2 * settings["parameters"] > this_machine().memory_bytes * _MEMORY_SHARE:
        return
    with progress.step("look at the activations"), torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float16, trust_remote_code=config.trust_remote_code
        ).to(settings["device"])
        for name, module in model.named_modules():
            if not list(module.children()):
                watch(name, module, config)
        model.eval()(input_ids=torch.tensor([window[:_MOST_TOKENS]], device=settings["device"]))
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def watch_layers(model: Any, config: Config, dtype: str) -> None:
    """Stop at the first layer of the decoder whose output is no number, rather than after the last."""
    if dtype == "float16":
        for name, module in model.named_modules():
            if _LAYER.fullmatch(name):
                watch(name, module, config)


def watch(name: str, module: torch.nn.Module, config: Config) -> None:
    def look(_module: Any, _inputs: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
            raise PlanError(
                f"What {name} computes goes beyond float16, whose largest number is 65504.",
                "Set dtype: bfloat16."
                if config.backend == "gptqmodel"
                else "Use backend: gptqmodel, which has dtype: bfloat16.",
                where=config.model,
            )

    module.register_forward_hook(look)
