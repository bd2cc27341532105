"""Weights and activations beyond 16 bits are found before anything is quantized, and the advice works."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress
from llmcourse.quantize_gptq.activations import check_activations
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.ranges import check_ranges
from llmcourse.testing.models import build_random_llama

DOWN = "model.layers.1.mlp.down_proj.weight"
QUIET = Progress(lambda _: None)


def model_with(folder: Path, dtype: str = "float32", **values: float) -> Path:
    """A model in whose tensors (`_` for a dot) one value is put."""
    build_random_llama(folder, dtype=dtype)
    weights = load_file(folder / "model.safetensors")
    for name, value in values.items():
        weights[name.replace("__", ".")][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def look(folder: Path, dtype: str, **keys: Any) -> None:
    config = Config(model=str(folder), calibration={"text": ["a.txt"]}, **keys)
    check_ranges(config, dtype, [folder / "model.safetensors"], QUIET)


def advised(error: PlanError) -> dict[str, Any]:
    """The settings that a fix names, as they would be written into the config."""
    parts = re.fullmatch(
        r"Set (?:(dtype: \w+))?(?: and )?(?:(modules: \{.*\}))?(?:, which leaves .*|\.)", error.fix
    )
    assert parts, error.fix
    found: dict[str, Any] = {}
    for part in filter(None, parts.groups()):
        found |= yaml.safe_load(part)
    return found


def test_what_fits_is_let_through(tmp_path: Path) -> None:
    look(model_with(tmp_path, model__layers__1__mlp__down_proj__weight=65504.0), "float16")


@pytest.mark.parametrize(
    ("value", "bits", "dtype", "expected"),
    [
        (1e5, 4, "float16", {"dtype": "bfloat16"}),
        (1e6, 4, "float16", {"dtype": "bfloat16", "modules": {r"layers\.1\.mlp\.down_proj$": False}}),
        (1e6, 4, "bfloat16", {"modules": {r"layers\.1\.mlp\.down_proj$": False}}),
        (1e5, 2, "bfloat16", {"modules": {r"layers\.1\.mlp\.down_proj$": False}}),
    ],
)
def test_a_weight_beyond_float16_is_named_and_the_advice_is_whole(
    value: float, bits: int, dtype: str, expected: dict[str, Any], tmp_path: Path
) -> None:
    folder = model_with(tmp_path, model__layers__1__mlp__down_proj__weight=value)
    with pytest.raises(PlanError, match=re.escape(DOWN)) as caught:
        look(folder, dtype, bits=bits)
    assert advised(caught.value) == expected
    look(folder, expected.get("dtype", dtype), bits=bits, modules=expected.get("modules", {}))


def test_what_modules_said_before_stays_in_the_advice(tmp_path: Path) -> None:
    folder = model_with(tmp_path, "bfloat16", model__layers__1__mlp__down_proj__weight=1e9)
    with pytest.raises(PlanError) as caught:
        look(folder, "bfloat16", modules={"down_proj": {"bits": 8}, "o_proj": False})
    assert list(advised(caught.value)["modules"].items()) == [
        (r"layers\.1\.mlp\.down_proj$", False), ("down_proj", {"bits": 8}), ("o_proj", False),
    ]  # fmt: skip
    look(folder, "bfloat16", modules=advised(caught.value)["modules"])


def test_more_bits_have_smaller_scales(tmp_path: Path) -> None:
    folder = model_with(tmp_path, "bfloat16", model__layers__1__mlp__down_proj__weight=1e6)
    look(folder, "bfloat16", bits=8)


def test_embeddings_have_no_scale(tmp_path: Path) -> None:
    look(model_with(tmp_path, "bfloat16", model__embed_tokens__weight=1e6), "bfloat16")


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = model_with(tmp_path, "bfloat16", model__layers__1__mlp__down_proj__weight=float("nan"))
    with pytest.raises(PlanError, match=f"{re.escape(DOWN)} holds values that are no numbers"):
        look(folder, "bfloat16")


def test_activations_beyond_float16_are_named_and_bfloat16_holds_them(tmp_path: Path) -> None:
    build_random_llama(tmp_path, dtype="float32")
    weights = load_file(tmp_path / "model.safetensors")
    weights[DOWN] = torch.full_like(weights[DOWN], 6e4)
    weights["model.layers.1.mlp.up_proj.weight"] *= 100
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = Config(model=str(tmp_path), calibration={"text": ["a.txt"]})
    settings = {"dtype": "float16", "device": "cpu", "parameters": 1_000_000}
    with pytest.raises(PlanError, match=r"What model\.layers\.1\.mlp\.down_proj computes") as caught:
        check_activations(config, settings, tmp_path, list(range(3, 67)), QUIET)
    assert caught.value.fix == "Set dtype: bfloat16."
    check_activations(config, settings | {"dtype": "bfloat16"}, tmp_path, list(range(3, 67)), QUIET)
