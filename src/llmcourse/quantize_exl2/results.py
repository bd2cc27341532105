"""Whether what the converter wrote is whole: it also exits with 0 after some errors.

Source: exllamav2 0.3.2, conversion/measure.py (the measurement) and conversion/compile.py (names of shards,
quantization_config).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmcourse.core.headers import safetensors_header
from llmcourse.core.model import LocalFiles

_SHARD = re.compile(r"output-(\d{5})-of-(\d{5})\.safetensors")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none, or it was torn by a kill."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in a folder knows how conversations are written."""
    is_beside = any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json"))
    return is_beside or bool(read_json(folder / "tokenizer_config.json").get("chat_template"))


def measurement_problem(path: Path, layers: int | None) -> str | None:
    """Why a file is no measurement of a model of so many layers (None where that is not known)."""
    found = read_json(path)
    measured = found.get("measurement")
    if not isinstance(measured, Mapping) or not isinstance(found.get("last_module_idx"), int):
        return f"{path.name} is no measurement of exllamav2"
    numbers = {int(match[1]) for name, value in measured.items() if value and (match := _LAYER.search(name))}
    if not numbers:
        return f"{path.name} holds no measured layers"
    if layers is not None and numbers != set(range(layers)):
        return f"{path.name} is of a model of {max(numbers) + 1} layers, and this one has {layers}"
    return None


def model_problem(folder: Path, bits: float, head_bits: int) -> str | None:
    """Why a folder is no whole EXL2 model of these bits."""
    stated = read_json(folder / "config.json").get("quantization_config")
    if not isinstance(stated, Mapping) or stated.get("quant_method") != "exl2":
        return "there is no config.json that says exl2"
    if (stated.get("bits"), stated.get("head_bits")) != (bits, head_bits):
        return f"its config.json says {stated.get('bits')} bits and {stated.get('head_bits')} of the head"
    files = LocalFiles(folder)
    shards = sorted(name for name in files.sizes if name.endswith(".safetensors"))
    if not _are_all(shards):
        return f"its weights are not complete ({', '.join(shards) or 'none'})"
    names: set[str] = set()
    for shard in shards:
        try:
            names |= set(safetensors_header(files, shard))
        except ValueError as error:
            return f"{shard} is damaged: {error}"
    if not any(name.endswith("lm_head.q_weight") for name in names):
        return "it has no quantized output layer"
    return None


def _are_all(shards: list[str]) -> bool:
    if shards == ["output.safetensors"]:
        return True
    found = [_SHARD.fullmatch(name) for name in shards]
    count = int(found[0][2]) if found and found[0] else 0
    wanted = [f"output-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    return count > 0 and shards == wanted
