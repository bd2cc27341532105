"""The plan of a GPTQ quantization, from hand-made facts."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from llmcourse.core.errors import PlanError
from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.core.plan import FileFacts, Plan
from llmcourse.quantize_gptq.layout import linears, result_bytes
from tests.packed_layouts import packed
from tests.planner_facts import WITH_GPU
from tests.quantize_gptq.builders import config, model, plan_of, said

LOCAL = "model: org/tiny\ncalibration: {text: a.txt, samples: 8, length: 256}\n"


def test_a_usual_plan_has_nothing_against_it() -> None:
    made = plan_of("model: org/tiny")
    assert said(made) == []
    assert made.exit_code == 0
    assert dict(made.summary)["method"] == "gptq, 4 bits, groups of 128, with gptqmodel"
    assert made.settings["revision"] == "e" * 40 and made.settings["dtype"] == "bfloat16"
    assert made.pieces == ("checkpoint",)


def test_a_measurement_is_a_piece_of_its_own_that_depends_on_text_and_chunks() -> None:
    one = plan_of(LOCAL + "quality: {text: b.txt, chunks: 4}", files={"b.txt": FileFacts(9999, "cd" * 32)})
    assert one.pieces == ("checkpoint", "quality:cdcdcdcdcdcd-4")


def test_the_linear_layers_of_the_blocks_are_quantized_and_nothing_else() -> None:
    found = {layer.module.split(".", 3)[-1] for layer in linears(model())}
    assert found == {"self_attn.q_proj", "mlp.up_proj"}


def test_a_router_is_left_as_it_is() -> None:
    router = {"model.layers.0.block_sparse_moe.gate.weight": Tensor((8, 128), "BF16", 2048, "m")}
    assert list(linears(model(tensors=router))) == []


def test_fewer_bits_make_a_smaller_result() -> None:
    sizes = [result_bytes(config(f"{{model: org/tiny, bits: {bits}}}"), model()) for bits in (2, 3, 4, 8)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("group_size: 1024", "group_size: Groups of 1024 do not divide the"),
        ("modules: {'': false}", "modules: All modules are left as they are."),
        ("device: cuda", "device: There is no CUDA device on this machine."),
        ("backend: auto-gptq", "backend: auto-gptq quantizes on a CUDA device only, and there is none here."),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    assert any(line.startswith(sentence) for line in said(plan_of(f"model: org/tiny\n{text}")))


def test_code_of_the_model_is_spoken_of_whether_it_is_trusted_or_not() -> None:
    own = model(config={**model().config, "auto_map": {"AutoConfig": "conf.Own"}})
    models = {"org/tiny": own}
    told = said(plan_of("model: org/tiny", models=models), "warn")
    assert any("brings code of its own, which is not run" in line for line in told)
    trusted = said(plan_of("{model: org/tiny, trust_remote_code: true}", models=models), "warn")
    assert any("your Hub token among it" in line for line in trusted)


def test_awq_of_gpt_2_is_refused() -> None:
    gpt2 = model(config={**model().config, "model_type": "gpt2"})
    made = plan_of("{model: org/tiny, method: awq}", models={"org/tiny": gpt2})
    assert any("AWQ does not fit" in line for line in said(made))


def test_what_auto_gptq_is_pinned_to_is_part_of_the_settings() -> None:
    made = plan_of("{model: org/tiny, backend: auto-gptq}")
    assert made.settings["dependencies"]["auto-gptq"] == "0.7.1"
    assert "dependencies" not in plan_of("model: org/tiny").settings


def test_a_missing_gpu_ends_with_3_and_a_wrong_shape_with_4() -> None:
    assert plan_of("{model: org/tiny, device: cuda}").exit_code == 3
    assert plan_of("{model: org/tiny, group_size: 1024}").exit_code == 4


def test_the_fix_of_a_wrong_group_names_one_that_fits() -> None:
    [line] = said(plan_of("{model: org/tiny, group_size: 1024}"))
    assert line.endswith("Set group_size=128.")


def test_a_gpu_is_used_where_there_is_one() -> None:
    made = plan_of("model: org/tiny", machine=WITH_GPU)
    assert made.settings["device"] == "cuda" and made.estimate.vram > 0
    assert said(plan_of("{model: org/tiny, backend: auto-gptq}", machine=WITH_GPU)) == []
    assert plan_of("{model: org/tiny, device: cpu}", machine=WITH_GPU).settings["device"] == "cpu"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config": {"architectures": ["BertModel"]}}, "is no language model that generates"),
        ({"is_pickled": True, "tensors": {}}, "pickled weights"),
        (
            {"files": {"model.safetensors": 1, "modules.json": 1, "tokenizer.json": 1}},
            "sentence-transformers",
        ),
        ({"files": {"model.safetensors": 1, "config.json": 1}}, "has no tokenizer"),
        ({"is_adapter": True}, "is a LoRA adapter"),
        (
            {"config": {"architectures": ["LlamaForCausalLM"], "pad_token_id": 9, "vocab_size": 9}},
            "pads with token 9, and its vocabulary has 9",
        ),
    ],
)
def test_what_is_no_language_model_is_refused(changes: dict[str, Any], sentence: str) -> None:
    made = plan_of("model: org/tiny", models={"org/tiny": model(**changes)})
    assert any(sentence in line for line in said(made))
    assert made.exit_code == 4


def test_what_is_quantized_already_is_refused() -> None:
    made = plan_of("model: org/tiny", models={"org/tiny": model(tensors=packed("AWQ").tensors)})
    assert any("is quantized (AWQ)" in line for line in said(made))
    stated = model(config={"architectures": ["LlamaForCausalLM"], "quantization_config": {}})
    made = plan_of("model: org/tiny", models={"org/tiny": stated})
    assert any("is called quantized" in line for line in said(made))


def shaped(**shapes: tuple[int, int]) -> dict[str, ModelFacts]:
    """A model whose second layer has these projections beside those of the usual one."""
    usual = model()
    extra = {
        f"model.layers.1.mlp.{name}.weight": Tensor(
            shape, "BF16", 2 * shape[0] * shape[1], "model.safetensors"
        )
        for name, shape in shapes.items()
    }
    return {"org/tiny": replace(usual, tensors={**usual.tensors, **extra})}


def followed(text: str, made: Plan) -> str:
    """The config after all that the plan's failures advise, as somebody would write it."""
    data = yaml.safe_load(text)
    for line in said(made):
        for key, value in re.findall(r"(?:[Ss]et|or set|and) ([\w.]+)=(-?\d+)", line):
            part, _, name = key.rpartition(".")
            (data if not part else data.setdefault(part, {}))[name] = int(value)
        if found := re.search(r"(modules: \{.*\})", line):
            data |= yaml.safe_load(found[1])
    return str(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "shapes", "sentence"),
    [
        ("{model: org/tiny, group_size: 1024}", {}, "Groups of 1024 do not divide"),
        ("{model: org/tiny}", {"odd": (96, 96)}, "Groups of 128 do not divide the 96 columns"),
        ("{model: org/tiny}", {"odd": (128, 176)}, "is 128 x 176; GPTQ packs multiples of 32 only"),
        ("{model: org/tiny}", {"odd": (33, 128), "other": (128, 48)}, "(and 1 other layers)"),
        ("{model: org/tiny}", {"odd": (33, 128), "even": (96, 96)}, "Groups of 128 do not divide"),
        ("{model: org/tiny}", {"q_proj": (33, 128)}, "model.layers.1.mlp.q_proj is 33 x 128"),
        (
            "{model: org/tiny, modules: {odd: {bits: 8}}}",
            {"odd": (33, 128)},
            "Leave out what does not fit",
        ),
        ("{model: org/tiny, method: awq}", {"narrow": (96, 128)}, "AWQ packs multiples of 64 rows"),
        ("{model: org/tiny, group_size: 32, modules: {odd: {bits: 8}}}", {"odd": (33, 128)}, "33 x 128"),
        (
            "{model: org/tiny, calibration: {text: a.txt, samples: 100, length: 64}}",
            {},
            "which cannot be the 6400 tokens",
        ),
    ],
)
def test_a_plan_s_advice_works_when_it_is_followed(
    text: str, shapes: dict[str, tuple[int, int]], sentence: str
) -> None:
    files = {"a.txt": FileFacts(5000, "ab" * 32)}
    made = plan_of(text, models=shaped(**shapes), files=files)
    assert made.exit_code and any(sentence in line for line in said(made)), said(made)
    again = plan_of(followed(text, made), models=shaped(**shapes), files=files)
    assert said(again) == [] and again.exit_code == 0


def test_odd_layers_alone_leave_nothing_to_quantize_and_no_advice_to_leave_all_out() -> None:
    odd = {"model.layers.0.mlp.up.weight": Tensor((33, 128), "BF16", 8448, "m")}
    lines = said(plan_of("model: org/tiny", models={"org/tiny": model(tensors=odd)}))
    assert any(
        line.endswith("Use quantize-gguf, which stores such layers in another type.") for line in lines
    )
    assert not any("Leave out" in line for line in lines)


def test_groups_that_awq_does_not_have_are_a_mistake_of_the_config() -> None:
    made = plan_of("{model: org/tiny, method: awq, group_size: 256}")
    assert made.exit_code == 2 and "AWQ has no groups of 256" in said(made)[0]


def test_an_expression_that_matches_nothing_is_said() -> None:
    made = plan_of("{model: org/tiny, modules: {down_porj: {bits: 8}}}")
    assert any("'down_porj' changes nothing" in line for line in said(made, "warn"))


def test_a_gated_data_set_is_refused_before_anything_is_read() -> None:
    gated = PlanError("allenai/c4 is gated.", "Ask for access.", where="allenai/c4")
    made = plan_of("model: org/tiny", datasets={"allenai/c4": gated})
    assert any("allenai/c4 is gated." in line for line in said(made))


def test_too_little_text_is_refused_with_numbers() -> None:
    made = plan_of(LOCAL, files={"a.txt": FileFacts(1000, "ab" * 32)})
    assert any("a.txt has 1000 bytes, which cannot be the 2048 tokens" in line for line in said(made))


def test_measuring_on_the_calibration_is_said_to_flatter() -> None:
    made = plan_of(LOCAL + "quality: a.txt")
    assert any("the figures flatter the result" in line for line in said(made, "warn"))


def test_windows_that_the_model_s_context_does_not_hold_are_refused() -> None:
    short = model(config={"architectures": ["GPT2LMHeadModel"], "n_positions": 256})
    made = plan_of("{model: org/tiny, quality: b.txt}", models={"org/tiny": short})
    assert any(
        "Windows of 2048 tokens are longer than the model's context of 256" in line for line in said(made)
    )
    assert any(line.startswith("quality: The model's context of 256 tokens") for line in said(made))


def test_an_encoder_with_a_decoder_is_refused() -> None:
    t5 = model(config={"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True})
    made = plan_of("model: org/tiny", models={"org/tiny": t5})
    assert any("is no language model that generates" in line for line in said(made))


def test_a_mac_s_device_is_refused_elsewhere() -> None:
    assert any(
        "mps is there on Macs only" in line for line in said(plan_of("{model: org/tiny, device: mps}"))
    )


def test_a_pickled_model_s_advice_names_no_key_that_is_not_there() -> None:
    [line] = said(plan_of("model: org/tiny", models={"org/tiny": model(is_pickled=True)}))
    assert line.endswith("Use a model with safetensors.")


def test_a_mock_run_promises_no_measurement() -> None:
    assert plan_of("{model: org/tiny, dry_run: mock, quality: b.txt}").pieces == ("checkpoint",)


def test_a_mock_run_is_not_published() -> None:
    text = "{model: org/tiny, dry_run: mock}"
    assert said(plan_of(text)) == [] and any("of no use" in line for line in said(plan_of(text), "warn"))
    published = plan_of(text, publisher="me")
    assert published.exit_code == 2 and "its result is not published" in said(published)[0]
