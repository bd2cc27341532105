"""GPTQ and AWQ checkpoints through gptqmodel."""

import os

from llmcourse.core.machine import usable_cpus

# gptqmodel 7.6.0 wants two workers on the processor and by default has half as many as there are cores.
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, (usable_cpus() + 1) // 2)))
# Else torch compiles what unpacks the weights: seconds of C++ for a few windows, in the temporary folder.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import json
from pathlib import Path
from typing import Any

from gptqmodel import BACKEND, GPTQModel


def load_quantized(path: str, device: str, trust_remote_code: bool) -> Any:
    """The checkpoint's transformers model, on the device."""
    stated = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    # On the processor gptqmodel would choose a kernel that does not read whole rows as groups.
    is_plain = device == "cpu" and stated.get("quant_method") == "gptq"
    return GPTQModel.load(
        path,
        device=device,
        backend=BACKEND.GPTQ_TORCH if is_plain else BACKEND.AUTO,
        trust_remote_code=trust_remote_code,
    ).model.eval()
