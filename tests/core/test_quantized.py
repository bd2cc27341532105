"""Packed codes are told from weights: by names and dtypes of tensors, and by every place that states it."""

from dataclasses import replace
from typing import Any

import pytest

from llmcourse.core.model import Tensor
from llmcourse.core.model_checks import weights_checks
from llmcourse.core.quantized import left_over_statement, quantization_of, what_instead, without_statement
from tests.packed_layouts import LAYER, LAYOUTS, packed
from tests.planner_facts import llama_on_the_hub


@pytest.mark.parametrize("label", LAYOUTS)
def test_layout_is_told_from_headers_of_a_stripped_config(label: str) -> None:
    found = quantization_of(packed(label))
    assert found is not None
    assert (found.label, found.method) == (label, None)
    assert LAYER in found.evidence


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"quantization_config": {"quant_method": "fp8"}}, "FP8"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "AWQ"),
        ({"compression_config": {"format": "pack-quantized"}}, "compressed-tensors"),
        ({"quantization_config": {"load_in_4bit": True}}, "bitsandbytes 4-bit"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX"),
    ],
)
def test_every_place_in_the_config_counts_where_tensors_cannot_be_seen(config: Any, label: str) -> None:
    """Pickled weights show no names."""
    model = llama_on_the_hub(tensors={}, is_pickled=True)
    found = quantization_of(replace(model, config={**model.config, **config}))
    assert found is not None
    assert found.label == label


def test_file_beside_the_config_names_the_method() -> None:
    model = replace(packed("GPTQ"), files={"quantize_config.json": 10})
    found = quantization_of(model)
    assert found is not None
    assert found.method == "gptq"


def test_masks_and_positions_of_plain_models_are_no_codes() -> None:
    plain = llama_on_the_hub()
    buffers = {
        "transformer.h.0.attn.bias": Tensor((1, 1, 8, 8), "U8", 64, "model.safetensors"),
        "gpt_neox.layers.0.attention.masked_bias": Tensor((), "F16", 2, "model.safetensors"),
        "embeddings.position_ids": Tensor((1, 8), "I64", 64, "model.safetensors"),
        "model.layers.0.mlp.gate.e_score_correction_bias": Tensor((8,), "F32", 32, "model.safetensors"),
    }
    assert quantization_of(replace(plain, tensors={**plain.tensors, **buffers})) is None


def test_left_over_statement_about_full_weights_is_no_quantization() -> None:
    plain = llama_on_the_hub()
    model = replace(plain, config={**plain.config, "quantization_config": {"quant_method": "fp8"}})
    assert quantization_of(model) is None
    assert left_over_statement(model) == "quantization_config in config.json"
    assert [check.status for check in weights_checks("org/tiny", model, "It is dropped.")] == ["warn"]
    assert [check.status for check in weights_checks("org/tiny", model)] == ["fail"]
    assert "quantization_config" not in without_statement(model.config)


def test_bitnet_in_full_keeps_what_it_is_trained_with() -> None:
    plain = llama_on_the_hub()
    model = replace(plain, config={**plain.config, "quantization_config": {"quant_method": "bitnet"}})
    assert left_over_statement(model) is None


def test_advice_names_the_original_of_the_card() -> None:
    model = replace(packed("AWQ"), card={"base_model": ["org/original"]})
    found = quantization_of(model)
    assert found is not None
    assert "org/original" in what_instead(model, found)
