"""Quantized layouts that the plan lets through become, to the byte, what their codes stand for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmcourse.core.model import ModelRef, read_local
from llmcourse.quantize_gguf.packed_weights import packed_weights_checks
from llmcourse.testing.models import Family, build_random_llama
from tests.quantize_gguf.conversions import converter_folder, running

Tensors = dict[str, torch.Tensor]
STEP = 2.0**-7  # powers of two, so that every value is one of bfloat16 too


def block_fp8(name: str, codes: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    weight = codes.to(torch.float8_e4m3fn)
    scale = torch.full((-(-codes.shape[0] // 32), -(-codes.shape[1] // 32)), STEP)
    return {f"{name}.weight": weight, f"{name}.weight_scale_inv": scale}, weight.float() * STEP


def int8_channels(name: str, codes: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    scale = torch.full((codes.shape[0], 1), STEP)
    return {f"{name}.weight": codes.to(torch.int8), f"{name}.weight_scale": scale}, codes * STEP


def packed_groups(name: str, codes: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    words = _words((codes + 8).long().view(codes.shape[0], -1, 8).movedim(2, 0))
    scale = torch.full((codes.shape[0], codes.shape[1] // 32), STEP)
    shape = torch.tensor(codes.shape)
    return {
        f"{name}.weight_packed": words,
        f"{name}.weight_scale": scale,
        f"{name}.weight_shape": shape,
    }, codes * STEP


def gptq(name: str, codes: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """Columns in an order of their own (desc_act), zeros of 8 that are stored as 7."""
    rows, columns = codes.shape
    groups = (torch.arange(columns).flip(0) // 32).to(torch.int32)
    words = _words((codes.T + 8).long().view(-1, 8, rows).movedim(1, 0))
    zeros = _words(torch.full((8, columns // 32, rows // 8), 7))
    scales = torch.full((columns // 32, rows), STEP, dtype=torch.float16)
    parts = {"qweight": words, "qzeros": zeros, "scales": scales, "g_idx": groups}
    return {f"{name}.{part}": value for part, value in parts.items()}, codes * STEP


def _words(nibbles: torch.Tensor) -> torch.Tensor:
    """Eight codes of four bits, along the first axis, in one signed word; the first in the lowest bits."""
    words = torch.stack([nibbles[place] << (4 * place) for place in range(8)]).sum(0)
    return ((words + 2**31) % 2**32 - 2**31).to(torch.int32)


def compressed(kind: str, **weights: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": {"type": "int", "group_size": None, **weights}}}
    return {"quant_method": "compressed-tensors", "format": kind, "config_groups": groups}


LAYOUTS: dict[str, tuple[Callable[[str, torch.Tensor], tuple[Tensors, torch.Tensor]], dict[str, Any]]] = {
    "block FP8": (block_fp8, {"quant_method": "fp8", "weight_block_size": [32, 32]}),
    "GPTQ": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}),
    "int8": (int8_channels, compressed("int-quantized", strategy="channel", num_bits=8)),
    "4-bit groups": (
        packed_groups,
        compressed("pack-quantized", strategy="group", num_bits=4, group_size=32),
    ),
}  # fmt: skip


def written(folder: Path, source: Path, tensors: Tensors, stated: dict[str, Any] | None) -> Path:
    shutil.copytree(source, folder)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config |= {"quantization_config": stated} if stated else {}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_codes_are_read_back_as_what_they_stand_for(tmp_path: Path, family: Family) -> None:
    source = build_random_llama(tmp_path / "source", tokenizer_from=family.base)
    plain = load_file(source / "model.safetensors")
    codes = {
        name.removesuffix(".weight"): torch.randint(-8, 8, value.shape).float()
        for name, value in plain.items()
        if "_proj" in name
    }
    kept = {name: value for name, value in plain.items() if "_proj" not in name}
    with running(tmp_path) as conversions:
        for label, (pack, stated) in LAYOUTS.items():
            packed, values = dict(kept), dict(kept)
            for name, matrix in codes.items():
                parts, value = pack(name, matrix)
                packed |= parts
                values[f"{name}.weight"] = value.to(torch.bfloat16)
            model = written(tmp_path / label / "model", source, packed, stated)
            facts = read_local(ModelRef.parse(str(model)))
            assert [check.status for check in packed_weights_checks(label, facts)] == ["warn"]
            plain_model = written(tmp_path / label / "plain" / "model", source, values, None)
            for folder in (model, plain_model):
                conversions.run("convert", folder)
                shutil.copy(conversions.converted, folder / "m.gguf")
            found = [hashes(folder / "m.gguf") for folder in (model, plain_model)]
            assert len(found[0]) == len(plain) and found[0] == found[1], label


def hashes(path: Path) -> dict[str, str]:
    """By tensor: its type and the hash of its data, read with llama.cpp's own library."""
    script = (
        "import sys, json, hashlib, gguf; print(json.dumps({t.name: t.tensor_type.name + "
        "hashlib.sha256(t.data.tobytes()).hexdigest() for t in gguf.GGUFReader(sys.argv[1]).tensors}))"
    )
    environment = os.environ | {"PYTHONPATH": str(converter_folder() / "gguf-py")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=environment, check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("label", ["block FP8", "GPTQ"])
def test_codes_without_what_their_config_said_are_refused(label: str, tmp_path: Path, family: Family) -> None:
    source = build_random_llama(tmp_path / "source", tokenizer_from=family.base)
    name = "model.layers.0.self_attn.q_proj"
    parts, _ = LAYOUTS[label][0](name, torch.zeros(64, 64))
    tensors = load_file(source / "model.safetensors")
    del tensors[f"{name}.weight"]
    model = written(tmp_path / "model", source, tensors | parts, None)
    [check] = packed_weights_checks("model", read_local(ModelRef.parse(str(model))))
    assert check.status == "fail" and "does not say how" in check.what
