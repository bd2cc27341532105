"""The plan as a whole: everything at once, stages, licence, profile, estimates."""

from dataclasses import replace

import pytest

from llmcourse.core.checks import memory_check
from llmcourse.core.errors import PlanError
from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.model import ModelFacts
from tests.merge.builders import LAPTOP, LINEAR, adapter, model, plan_of, said

STACK_THEN_BLEND = """
name: deep
slices:
  - sources: [{{model: org/a, layer_range: [0, 2]}}]
  - sources: [{{model: org/b, layer_range: [1, 2]}}]
merge_method: passthrough
---
slices:
  - sources:
      - {{model: deep, layer_range: [0, {layers}], parameters: {{weight: 1}}}}
      - {{model: org/deep, layer_range: [0, {layers}], parameters: {{weight: 1}}}}
merge_method: linear
"""


def test_all_problems_are_found_at_once() -> None:
    text = """
    models: [{model: org/a, parameters: {weight: 1, wieght: 2}}, {model: org/b}, {model: org/c}]
    merge_method: linear
    dtype: bf16
    """
    models = {"org/b": model("org/b", layers=3), "org/c": adapter("org/c")}
    names = [message.partition(":")[0] for message in said(plan_of(text, models))]
    assert names == ["dtype", "parameters", "parameters", "parameters", "org/c"]


def test_an_unreadable_model_does_not_hide_what_is_wrong_with_the_recipe() -> None:
    messages = said(plan_of(LINEAR + "    dtype: bf16\n", {"org/b": PlanError("Gone.", "Look.")}))
    assert [message.partition(":")[0] for message in messages] == ["org/b", "dtype"]


def test_a_stage_is_planned_with_the_layers_that_the_one_before_will_have() -> None:
    deep = {"org/deep": model("org/deep", layers=3)}
    assert said(plan_of(STACK_THEN_BLEND.format(layers=3), deep)) == []
    messages = said(plan_of(STACK_THEN_BLEND.format(layers=4), deep))
    assert messages[0].startswith("layer_range: Layers 0 to 4 of deep do not exist; it has 3.")


def test_a_stage_s_result_has_the_size_of_its_stack() -> None:
    plan = plan_of(STACK_THEN_BLEND.format(layers=3), {"org/deep": model("org/deep", layers=3)})
    assert plan.estimate.write == 2 * model(layers=3).weight_bytes
    assert plan.steps == ("merge deep", "merge the result")
    assert dict(plan.summary)["method"] == "Linear, in 2 stages"
    assert dict(plan.summary)["models"] == "org/a, org/b, org/deep"


def test_stages_in_a_circle_are_a_problem_of_the_plan() -> None:
    text = "name: a\nmodels: [{model: b}]\nmerge_method: ties\n---\n"
    text += "name: b\nmodels: [{model: a}]\nmerge_method: ties\n"
    plan = plan_of(text)
    assert said(plan) == ["merge: The stages a, b use each other in a circle. Break the circle."]
    assert plan.exit_code == 2


def with_licence(name: str, licence: object) -> ModelFacts:
    return replace(model(name), card={"license": licence} if licence else {})


@pytest.mark.parametrize(
    ("licence", "status", "message"),
    [
        ("mit", "ok", "licence: apache-2.0, the most restrictive of the parents'"),
        ("CC-BY-NC-4.0", "ok", "licence: cc-by-nc-4.0, the most restrictive of the parents'"),
        (["llama3"], "ok", "licence: llama3, the most restrictive of the parents'"),
        (
            None,
            "warn",
            "licence: org/b states no licence, so the result's is unknown. "
            "Set card.license when you know which one applies.",
        ),
    ],
)
def test_the_licence_comes_from_the_parents(licence: object, status: str, message: str) -> None:
    plan = plan_of(LINEAR, {"org/b": with_licence("org/b", licence)})
    assert message in said(plan, status)  # type: ignore[arg-type]


def test_licences_that_conflict_are_warned_of() -> None:
    models = {"org/a": with_licence("org/a", "llama3"), "org/b": with_licence("org/b", "gemma")}
    assert said(plan_of(LINEAR, models), "warn") == [
        "licence: These licences conflict: org/a (llama3), org/b (gemma). "
        "Set card.license when you know which one applies."
    ]


def test_a_licence_of_the_user_s_own_needs_no_derivation() -> None:
    plan = plan_of(f"card: {{license: mit}}\nmerge:{LINEAR}", {"org/b": with_licence("org/b", None)})
    assert said(plan, "warn") == said(plan) == []


def test_a_licence_the_hub_does_not_know_is_refused() -> None:
    assert said(plan_of(f"card: {{license: apache}}\nmerge:{LINEAR}")) == [
        "licence: 'apache' is no licence the Hub knows. Use one of its ids, or other."
    ]


def test_a_model_read_only_for_its_tokenizer_does_not_decide_the_licence() -> None:
    plan = plan_of(LINEAR + "    tokenizer_source: org/t\n", {"org/t": with_licence("org/t", None)})
    assert said(plan, "warn") == []


H100 = Gpu("NVIDIA H100", 80_000_000_000)


@pytest.mark.parametrize(
    ("machine", "wish", "profile"),
    [
        (LAPTOP, "", "cpu (no GPU)"),
        (replace(LAPTOP, total_memory_bytes=64_000_000_000), "", "cpu-high-ram (no GPU, ample memory)"),
        (replace(LAPTOP, gpus=(H100,)), "", "gpu (this machine has NVIDIA H100)"),
        (replace(LAPTOP, gpus=(H100,)), "profile: cpu", "cpu (as written)"),
        (replace(LAPTOP, gpus=(H100,)), "options: {device: cpu}", "cpu-high-ram (the options name the CPU)"),
        (LAPTOP, "options: {cuda: true}", "gpu (the options name a GPU)"),
    ],
)
def test_the_profile_fits_the_machine_unless_it_is_written(machine: Machine, wish: str, profile: str) -> None:
    plan = plan_of(f"{wish}\nmerge:{LINEAR}", machine=machine)
    assert dict(plan.summary)["profile"] == profile


def test_a_written_option_wins_over_the_profile() -> None:
    plan = plan_of(f"profile: cpu\noptions: {{out_shard_size: 2B, lazy_unpickle: false}}\nmerge:{LINEAR}")
    assert plan.settings["options"] == {"allow_crimes": True, "out_shard_size": 2_000_000_000}


def test_a_chosen_profile_does_not_mix_architectures() -> None:
    assert "allow_crimes" not in plan_of(LINEAR).settings["options"]


def test_folders_of_this_machine_stay_out_of_the_settings() -> None:
    plan = plan_of(f"options: {{lora_merge_cache: /home/me, transformers_cache: /tmp}}\nmerge:{LINEAR}")
    assert "/home/me" not in str(plan.settings)
    assert "/tmp" not in str(plan.settings)


def test_code_that_models_bring_is_downloaded_and_warned_of_only_when_asked() -> None:
    plan = plan_of(f"options: {{trust_remote_code: true}}\nmerge:{LINEAR}")
    assert said(plan, "warn") == ["trust_remote_code: Code that the models bring will run on this machine."]
    assert plan.settings["download"] == ["*.py"]
    assert plan_of(LINEAR).settings["download"] == []


@pytest.mark.parametrize(("dtype", "factor"), [("", 1), ("dtype: float32", 2), ("out_dtype: float16", 1)])
def test_what_is_written_depends_on_the_dtype(dtype: str, factor: int) -> None:
    assert plan_of(f"{LINEAR}    {dtype}\n").estimate.write == factor * model().weight_bytes


def test_a_mixture_writes_every_expert() -> None:
    text = """
    base_model: org/a
    gate_mode: random
    experts: [{source_model: org/b}, {source_model: org/c}]
    """
    mlp_bytes, gate_bytes = 2 * (8 * 4 * 2), 2 * (2 * 4 * 2)
    assert plan_of(text).estimate.write == model().weight_bytes + mlp_bytes + gate_bytes


def test_what_is_not_here_yet_is_to_be_downloaded() -> None:
    models = {name: replace(model(name), missing_bytes=size) for name, size in (("org/a", 100), ("org/b", 0))}
    assert plan_of(LINEAR, models).estimate.download == 100


def test_memory_grows_with_the_largest_tensor_and_decides_before_the_run() -> None:
    small = plan_of(LINEAR).estimate
    models = {name: model(name, hidden=4096, vocab=200_000) for name in ("org/a", "org/b")}
    large = plan_of(LINEAR, models).estimate
    assert large.memory - small.memory > 6 * 2 * 4096 * 190_000
    assert memory_check(small, LAPTOP).status == "ok"
    assert memory_check(large, LAPTOP).status == "fail"


def test_gpu_memory_is_estimated_where_a_gpu_computes() -> None:
    assert plan_of(LINEAR).estimate.vram == 0
    assert plan_of(LINEAR, machine=replace(LAPTOP, gpus=(H100,))).estimate.vram > 0


@pytest.mark.parametrize(
    ("more", "dtype"),
    [("", "bfloat16"), ("dtype: torch.float16", "float16"), ("out_dtype: float32", "float32")],
)
def test_the_summary_names_the_dtype_of_the_result(more: str, dtype: str) -> None:
    assert dict(plan_of(f"{LINEAR}    {more}\n").summary)["dtype"] == dtype


def test_a_readable_model_is_named_with_its_commit() -> None:
    assert f"org/a: readable at commit {'c' * 12}" in said(plan_of(LINEAR), "ok")
