"""Models as lm-eval asks them: transformers, gptqmodel, llama.cpp, vLLM."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lm_eval.api.registry import get_model
from transformers import AutoTokenizer

from llmcourse.autoeval.config import Runtime
from llmcourse.autoeval.transformers_model import TransformersModel
from llmcourse.autoeval.units import Unit


@contextmanager
def loaded(unit: Unit, runtime: Runtime, settings: dict[str, Any]) -> Iterator[Any]:
    """The unit's model; its memory is given back afterwards.

    Args:
        settings: `device` and `batch_size` as the plan decided them, and `parallelize`.
    """
    model = _LOADERS[unit.backend](unit.path, runtime, settings)
    try:
        yield model
    finally:
        if hasattr(model, "close"):
            model.close()
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _transformers(path: str, runtime: Runtime, settings: dict[str, Any]) -> Any:
    return TransformersModel(
        pretrained=path,
        dtype=runtime.dtype,
        batch_size=settings["batch_size"],
        device=settings["device"],
        trust_remote_code=runtime.trust_remote_code,
        parallelize=settings["parallelize"],
        **_as_lm_eval_has_them(runtime),
    )


def _as_lm_eval_has_them(runtime: Runtime) -> dict[str, Any]:
    """What lm-eval's models take of contexts, templates and thoughts."""
    return {
        "max_length": runtime.max_length,
        "enable_thinking": runtime.enable_thinking,
        "think_end_token": runtime.think_end_token,
        "chat_template_args": dict(runtime.chat_template_args),
    }


def _gptqmodel(path: str, runtime: Runtime, settings: dict[str, Any]) -> Any:
    from llmcourse.autoeval.gptq import load_quantized

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=runtime.trust_remote_code)
    model = load_quantized(path, settings["device"], runtime.trust_remote_code)
    return TransformersModel(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=settings["batch_size"],
        **_as_lm_eval_has_them(runtime),
    )


def _llama_cpp(path: str, runtime: Runtime, settings: dict[str, Any]) -> Any:
    from llmcourse.autoeval.gguf import GgufModel

    return GgufModel(path, settings["device"] != "cpu", runtime)


def _vllm(path: str, runtime: Runtime, settings: dict[str, Any]) -> Any:
    arguments = {
        "pretrained": path,
        "dtype": runtime.dtype,
        "trust_remote_code": runtime.trust_remote_code,
        "tensor_parallel_size": settings["gpus"],
        "seed": runtime.seed,
        **_as_lm_eval_has_them(runtime),
    }
    return get_model("vllm").create_from_arg_obj(arguments, {"batch_size": settings["batch_size"]})


_LOADERS = {"hf": _transformers, "gptq": _gptqmodel, "gguf": _llama_cpp, "vllm": _vllm}
