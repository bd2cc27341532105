"""Quantizes with auto-gptq, or reads a GPTQ checkpoint with it, in an environment of its own.

One job as JSON on stdin, one result as JSON on stdout, progress and the library's log on stderr; see
`auto_gptq.py`, which makes the jobs.

The project's last release is of 2024.  It does not import with transformers 5.  With 4.57 it fails at the
second layer, because decoder layers return a tensor where it takes the first item of a tuple; with 4.53 it
fails for GPT-2 and Qwen 2; with 4.51 it quantizes them.  Its wheels have kernels for the torch and Pythons
of that year, so it is built from source without them: only inference has them.
"""
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "auto-gptq==0.7.1",
#   "transformers==4.51.3",
#   "tokenizers==0.21.4",
#   "huggingface-hub==0.36.2",
#   "peft==0.14.0",
#   "accelerate==1.15.0",
#   "datasets==5.0.1",
#   "safetensors==0.8.0",
#   "numpy==2.4.6",
#   "torch==2.13.0",
# ]
#
# [tool.uv]
# no-binary-package = ["auto-gptq"]
#
# [tool.uv.extra-build-variables]
# auto-gptq = { BUILD_CUDA_EXT = "0" }
# ///

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"  # its bars have no line ends, and would run into our lines

import numpy as np
import torch
from auto_gptq import AutoGPTQForCausalLM, BaseQuantizeConfig
from torch.nn.functional import cross_entropy

VERSIONS = ("auto-gptq", "transformers", "torch")


class Refusal(Exception):
    """An error of llmcourse by the name of its class, what is wrong, what to do."""


def emit(event: str, **fields: Any) -> None:
    sys.stderr.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stderr.flush()


@contextmanager
def step(name: str, total: int | None = None, unit: str = "") -> Iterator[None]:
    emit("started", step=name, total=total, unit=unit)
    yield
    emit("finished", step=name)


class Reporter(logging.Handler):
    """Layers done, and each module's error, as auto-gptq 0.7.1 tells them in its log and nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.losses: list[dict[str, Any]] = []
        self._module = {"layer": 0, "module": ""}

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if started := re.fullmatch(r"Start quantizing layer (\d+)/(\d+)", message):
            layer, total = map(int, started.groups())
            if layer == 1:
                emit("started", step="quantize", total=total, unit="layers")
            emit("advanced", step="quantize", done=layer - 1)
        elif module := re.fullmatch(r"Quantizing (\S+) in layer (\d+)/\d+\.\.\.", message):
            self._module = {"layer": int(module[2]) - 1, "module": module[1]}
        elif loss := re.fullmatch(r"avg loss: (\S+)", message):
            self.losses.append({**self._module, "loss": float(loss[1])})
        elif message == "Packing model...":
            emit("finished", step="quantize")
            emit("started", step="pack", total=None, unit="")
        elif message == "Model packed.":
            emit("finished", step="pack")


def windows_of(job: dict[str, Any]) -> torch.Tensor:
    """Token ids, int64 of shape (samples, length)."""
    return torch.from_numpy(np.load(job["windows"])).long()


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint is written to job["output"]; the result has each module's mean squared error."""
    config = BaseQuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        damp_percent=job["damp_percent"],
        desc_act=job["desc_act"],
        sym=job["symmetric"],
        model_file_base_name="model",  # the name that transformers looks for
    )
    examples = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in windows_of(job)]
    model = model_to_quantize(job, config)
    reporter = Reporter()
    logging.getLogger("auto_gptq").addHandler(reporter)
    logging.getLogger("auto_gptq").setLevel(logging.INFO)
    start = time.monotonic()
    try:
        model.quantize(examples, batch_size=1, use_triton=False)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise Refusal(
            "LibraryError",
            f"A layer cannot be quantized with damp_percent {job['damp_percent']}: {error}",
            "Raise damp_percent, or calibrate on more text; auto-gptq does neither by itself.",
        ) from error
    seconds = time.monotonic() - start
    with step("write"):
        model.save_quantized(job["output"], use_safetensors=True)
    return {"losses": reporter.losses, "seconds": seconds}


def model_to_quantize(job: dict[str, Any], config: Any) -> Any:
    """The model in auto-gptq's hands, which takes it on a machine with a CUDA device only."""
    with step("load the model into auto-gptq"):
        try:
            return AutoGPTQForCausalLM.from_pretrained(
                job["model"],
                config,
                torch_dtype=getattr(torch, job["dtype"]),
                trust_remote_code=job["trust_remote_code"],
            )
        except OSError as error:
            if torch.cuda.is_available():
                raise
            raise Refusal(
                "MissingError",
                f"auto-gptq needs a CUDA device, and torch {torch.__version__} sees none here.",
                "Use backend: gptqmodel, which works on every device, or a machine with an NVIDIA GPU.",
            ) from error


def read(job: dict[str, Any]) -> dict[str, Any]:
    """Mean negative log-likelihood over all windows, in nats per token, and a greedy continuation."""
    config = BaseQuantizeConfig(
        bits=job["bits"], group_size=job["group_size"], desc_act=job["desc_act"], sym=job["symmetric"]
    )
    with step("load the checkpoint into auto-gptq"):
        model = AutoGPTQForCausalLM.from_quantized(
            job["model"],
            device="cpu",
            torch_dtype=torch.float32,
            quantize_config=config,
            trust_remote_code=job["trust_remote_code"],
        )
    windows = windows_of(job)
    losses = []
    with torch.inference_mode(), step("read with auto-gptq", len(windows), "windows"):
        for done, ids in enumerate(windows, start=1):
            logits = model(input_ids=ids[None]).logits[0, :-1]
            losses.append(cross_entropy(logits.double(), ids[1:]).item())
            emit("advanced", step="read with auto-gptq", done=done)
        continuation = greedy(model, job["prompt"], job["new_tokens"])
    return {"nll": sum(losses) / len(losses), "continuation": continuation}


def greedy(model: Any, prompt: list[int], new_tokens: int) -> list[int]:
    if not prompt:
        return []
    ids = torch.tensor([prompt])
    whole = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False
    )
    continuation: list[int] = whole[0, len(prompt) :].tolist()
    return continuation


def main() -> None:
    # Whatever prints goes to stderr, so that stdout holds the result alone.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as results:
        os.dup2(2, 1)
        job = json.load(sys.stdin)
        try:
            result = {"quantize": quantize, "read": read}[job["task"]](job)
            result["versions"] = {name: version(name) for name in VERSIONS}
        except Refusal as refusal:
            kind, what, fix = refusal.args
            result = {"error": {"type": kind, "what": what, "fix": fix}}
        json.dump(result, results)


if __name__ == "__main__":
    main()
