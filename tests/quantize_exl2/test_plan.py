"""The plan from hand-made facts: no GPU, no model, no library."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from llmcourse.core.machine import Gpu
from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.core.plan import FileFacts
from llmcourse.quantize_exl2.sizes import gpu_bytes, result_bytes
from tests.model_folders import llama_config
from tests.packed_layouts import packed
from tests.quantize_exl2.builders import (
    GPU,
    READY,
    WITHOUT_GPU,
    WORKSTATION,
    config,
    model,
    plan_of,
    said,
)


def llama(layers: int, hidden: int, inner: int, vocab: int, keys: int) -> ModelFacts:
    """A Llama's shapes."""
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "lm_head.weight": (vocab, hidden)}
    for index in range(layers):
        name = f"model.layers.{index}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (hidden, hidden),
            f"{name}.self_attn.k_proj.weight": (keys, hidden),
            f"{name}.self_attn.v_proj.weight": (keys, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, hidden),
            f"{name}.mlp.gate_proj.weight": (inner, hidden),
            f"{name}.mlp.up_proj.weight": (inner, hidden),
            f"{name}.mlp.down_proj.weight": (hidden, inner),
        }
    tensors = {name: Tensor(shape, "BF16", 2 * shape[0] * shape[1], "a") for name, shape in shapes.items()}
    return model(tensors=tensors, config=llama_config(layers, hidden, vocab))


SEVEN = llama(32, 4096, 11008, 32000, 4096)
SEVENTY = llama(80, 8192, 28672, 32000, 1024)


def test_a_plan_that_works_says_sizes_and_has_a_piece_for_each() -> None:
    plan = plan_of(models={"org/tiny": SEVEN})
    assert said(plan) == [] and plan.exit_code == 0
    assert plan.pieces == ("measurement", "3.0bpw", "4.25bpw")
    assert plan.steps == ("measure", "3.0bpw", "4.25bpw")
    summary = dict(plan.summary)
    assert "3.0bpw" in summary["results"] and "6.74 B parameters" in summary["model"]
    assert plan.estimate.write == sum(result_bytes(SEVEN, bits, 6) for bits in (3.0, 4.25))


@pytest.mark.parametrize(("bits", "gigabytes"), [(4.0, 3.6), (6.0, 5.3)])
def test_a_result_is_as_large_as_its_bits_say(bits: float, gigabytes: float) -> None:
    """6.48e9 weights of layers, an output layer of 6 bits, an embedding of 16."""
    assert result_bytes(SEVEN, bits, 6) / 1e9 == pytest.approx(gigabytes, rel=0.02)


def test_a_large_model_does_not_fit_where_a_small_one_does() -> None:
    """Users report 8 GB for 7 B and 24 GB for 70 B."""
    read = config()
    assert 4e9 < gpu_bytes(read, SEVEN) < 8e9
    assert 20e9 < gpu_bytes(read, SEVENTY) < 28e9


def test_long_rows_need_memory_for_their_attention() -> None:
    heads = replace(SEVEN, config={**SEVEN.config, "num_attention_heads": 32})
    long = (
        "{model: m, bits_per_weight: 4, calibration: {text: t.txt, length: 8192}, measurement_length: 8192}"
    )
    assert gpu_bytes(config(), heads) == gpu_bytes(config(), SEVEN)
    scores = 32 * 8192**2 * 2
    assert gpu_bytes(config(long), heads) > 3 * scores


def test_without_a_gpu_it_is_one_sentence_and_exit_3() -> None:
    plan = plan_of(machine=WITHOUT_GPU, present={})
    assert plan.exit_code == 3
    assert said(plan) == [
        "GPU: EXL2 needs an NVIDIA GPU with CUDA, and none was found here. "
        "Run it where nvidia-smi lists one; quantize-gguf and quantize-gptq work on the processor."
    ]
    assert plan.summary and plan.steps[:2] == (
        "install exllamav2 in an environment of its own",
        "compile its extension",
    )
    assert [check.name for check in plan.checks if check.status == "warn"][:2] == ["uv", "nvcc"]


def without(*names: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in READY.items() if name not in names} | more


@pytest.mark.parametrize(
    ("present", "what"),
    [
        (without("environment", "uv"), "pip install 'llmcourse[exl2]'"),
        (without("extension"), "no nvcc was found"),
        (without("extension", nvcc="12.8"), "nvcc 12.8 was found"),
        (without("extension", nvcc="13.0"), "no C++ compiler"),
    ],
)
def test_what_the_first_run_needs_is_asked_for_before(present: dict[str, str], what: str) -> None:
    plan = plan_of(present=present)
    assert plan.exit_code == 3 and what in " ".join(said(plan))


def test_what_is_built_already_is_not_asked_for() -> None:
    assert said(plan_of(present={"environment": "here", "extension": "here"})) == []
    assert "first run installs" in " ".join(said(plan_of(present=without("environment")), "ok"))
    assert said(plan_of(present=without("extension", nvcc="13.1", **{"c++": "here"}))) == []


def test_of_several_gpus_the_one_with_most_free_memory_is_shown_to_the_converter() -> None:
    assert plan_of().labels == {"gpu": None}
    both = replace(WORKSTATION, gpus=(Gpu("busy", 10**9), GPU))
    assert plan_of(machine=both).labels == {"gpu": 1}


def test_rows_longer_than_a_layer_s_window_are_refused() -> None:
    gemma = {"architectures": ["Gemma2ForCausalLM"], "sliding_window": 1024}
    models = {"org/tiny": model(config=llama_config() | gemma)}
    (found,) = said(plan_of(models=models))
    assert "see 1024 tokens" in found and "(calibration.length, measurement_length)" in found
    text = "{model: org/tiny, bits_per_weight: 4, calibration: {text: t.txt, length: 1024}, %s}"
    assert said(plan_of(text % "measurement_length: 1024", models=models)) == []
    (found,) = said(plan_of(text % "measurement_length: 2048", models=models))
    assert "(measurement_length)" in found and "measurement_length: 1024" in found


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "takes the mean out"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "YaRN"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "YaRN"),
    ],
)
def test_where_exllamav2_predicts_something_else_is_told(changes: dict[str, Any], what: str) -> None:
    plan = plan_of(models={"org/tiny": model(config=llama_config() | changes)})
    assert plan.exit_code == 0 and what in " ".join(said(plan, "warn"))
    assert what not in " ".join(said(plan_of(), "warn"))


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"is_pickled": True, "weight_files": ("pytorch_model.bin",)}, "reads safetensors only"),
    ({"is_adapter": True}, "is a LoRA adapter"),
    ({"files": {"config.json": 1, "tokenizer.model": 1}}, "has no tokenizer.json"),
    ({"files": {"modules.json": 1, "tokenizer.json": 1}}, "sentence-transformers"),
    ({"tensors": packed("GPTQ").tensors}, "is quantized (GPTQ)"),
    (
        {"config": llama_config() | {"quantization_config": {"quant_method": "gptq"}}},
        "is called quantized (quantization_config in config.json), but its tensors are weights in full",
    ),
    (
        {"config": llama_config() | {"architectures": ["MambaForCausalLM"]}},
        "does not know the architecture Mamba",
    ),
    ({"config": llama_config() | {"architectures": ["LlavaForConditionalGeneration"]}}, "does not know"),
    ({"config": llama_config() | {"architectures": []}}, "names 0 architectures"),
    ({"config": llama_config() | {"quantization_config": 3}}, "is called quantized"),
    ({"config": llama_config() | {"num_hidden_layers": 10**18}}, "and weights of 2"),
    ({"config": llama_config() | {"num_hidden_layers": -1}}, "has -1 layers by its config.json"),
]


@pytest.mark.parametrize(("changes", "what"), CHANGES)
def test_a_model_that_cannot_be_converted_is_refused(changes: dict[str, Any], what: str) -> None:
    plan = plan_of(models={"org/tiny": model(**changes)})
    assert plan.exit_code == 4 and what in " ".join(said(plan))


def test_pixtral_is_known_by_what_it_sees_with() -> None:
    sees = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"model_type": "pixtral"}}
    assert said(plan_of(models={"org/tiny": model(config=llama_config() | sees)})) == []


def test_too_little_calibration_text_is_refused_with_numbers() -> None:
    text = "{model: org/tiny, bits_per_weight: 4, calibration: {text: a.txt}}"
    plan = plan_of(text, files={"a.txt": FileFacts(1000, "ab" * 32)})
    assert plan.exit_code == 4 and "1000 bytes" in said(plan)[0] and "204800 tokens" in said(plan)[0]


def test_a_data_set_needs_its_library() -> None:
    text = "{model: org/tiny, bits_per_weight: 4, calibration: {dataset: allenai/c4}}"
    assert said(plan_of(text)) == []
    assert plan_of(text, present=without("datasets")).exit_code == 3
    assert plan_of(text).settings["calibration"]["revision"] == "d" * 40


def test_quality_needs_a_gpu_that_holds_the_original() -> None:
    text = "{model: org/tiny, bits_per_weight: 4, quality: a.txt}"
    heavy = model(files={"model.safetensors": 30 * 10**9, "tokenizer.json": 1})
    assert "does not hold the unquantized model" in said(plan_of(text, models={"org/tiny": heavy}))[0]
    assert plan_of(text).pieces[-1].startswith("quality:")


def test_what_is_made_depends_on_what_the_environment_pins() -> None:
    pins = plan_of().settings["dependencies"]
    assert pins["exllamav2"] == "0.3.2" and pins["torch"].count(".") == 2


def test_the_converter_sees_weights_and_tokenizer_and_nothing_else() -> None:
    names = ["model.safetensors", "consolidated.safetensors", "README.md", "llmcourse.json", "config.json",
             "model.safetensors.index.json", "tokenizer.json", "LICENSE", "old.gguf", "code.py",
             "chat_template.jinja"]  # fmt: skip
    seen = plan_of(models={"org/tiny": model(files=dict.fromkeys(names, 1))}).settings["files"]
    assert seen == ["LICENSE", "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"]


def test_a_name_that_is_no_utf8_is_not_taken() -> None:
    files = {"model.safetensors": 1, "config.json": 1, "tokenizer.json": 1, "\udcff.json": 1}
    assert "\udcff.json" not in plan_of(models={"org/tiny": model(files=files)}).settings["files"]


def test_sizes_of_another_kind_than_numbers_are_unknown() -> None:
    odd = llama_config() | {"hidden_size": "x", "text_config": 3}
    assert plan_of(models={"org/tiny": model(config=odd)}).estimate.write > 0


@pytest.mark.parametrize("size", [1000, 50_000, 300_000])
def test_the_advice_for_too_little_text_is_enough_for_the_measurement_too(size: int) -> None:
    text = "{model: org/tiny, bits_per_weight: 4, calibration: {text: a.txt, samples: 300, length: 2048}}"
    files = {"a.txt": FileFacts(size, "ab" * 32)}
    [line] = [line for line in said(plan_of(text, files=files)) if "calibration" in line]
    data = yaml.safe_load(text)
    for key, value in re.findall(r"([\w.]+)=(\d+)", line):
        part, _, name = key.rpartition(".")
        (data[part] if part else data)[name] = int(value)
    assert not any("calibration" in line for line in said(plan_of(json.dumps(data), files=files)))
