"""What gives weights their meaning beside shapes: heads are to be the same, other settings are told."""

from dataclasses import replace
from typing import Any

import pytest

from llmcourse.core.model import ModelFacts, Tensor
from tests.merge.builders import LINEAR, model, plan_of, said

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2}
MOE = """
    base_model: org/a
    gate_mode: random
    experts:
      - {source_model: org/a, positive_prompts: [a]}
      - {source_model: org/b, positive_prompts: [b]}
"""


def with_config(name: str, hidden: int = 8, rows: int | None = None, **changes: Any) -> ModelFacts:
    """A Llama whose first layer has a matrix of keys with `rows` rows."""
    plain = model(name, hidden=hidden)
    tensors = dict(plain.tensors)
    if rows:
        key = "model.layers.0.self_attn.k_proj.weight"
        tensors[key] = Tensor((rows, hidden), "BF16", 2 * rows * hidden, "model.safetensors")
    return replace(plain, config={**plain.config, **HEADS, **changes}, tensors=tensors)


def pair(first: dict[str, Any], second: dict[str, Any]) -> dict[str, ModelFacts]:
    return {"org/a": with_config("org/a", **first), "org/b": with_config("org/b", **second)}


def of_meaning(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("heads: ", "config.json: ", "org/"))]


def test_heads_that_differ_are_refused_though_shapes_fit() -> None:
    plan = plan_of(LINEAR, pair({}, {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 1}))
    assert of_meaning(said(plan)) == [
        "heads: num_attention_heads is 4 in org/a and 8 in org/b: matrices of one shape mean different "
        "things there. Merge models with the same heads, or set options.allow_crimes=true."
    ]
    assert {check.exit_code for check in plan.failures} == {4}


@pytest.mark.parametrize("key", ["num_key_value_heads", "head_dim"])
def test_each_kind_of_heads_counts(key: str) -> None:
    other = {"model_type": "unknown"}  # whose matrices may hold more than heads
    [line] = of_meaning(said(plan_of(LINEAR, pair(other, {**other, key: 1}))))
    assert line.startswith(f"heads: {key} is 2 in org/a and 1 in org/b: ")


def test_heads_that_are_not_written_are_those_that_transformers_takes() -> None:
    plain = model("org/a", hidden=8)
    written = replace(plain, config={**plain.config, "num_attention_heads": 4})
    same = with_config("org/b", num_key_value_heads=None, head_dim=None)
    assert of_meaning(said(plan_of(LINEAR, {"org/a": written, "org/b": same}))) == []


def test_heads_that_differ_are_told_where_crimes_are_allowed() -> None:
    text = f"{LINEAR}\n    allow_crimes: true\n".replace("allow_crimes", "options: {allow_crimes: true} #")
    plan = plan_of(text, pair({}, {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 1}))
    assert of_meaning(said(plan)) == []
    assert "as allow_crimes asks" in "".join(of_meaning(said(plan, "warn")))


def test_experts_with_other_heads_are_refused() -> None:
    plan = plan_of(MOE, pair({}, {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 1}))
    assert any("num_attention_heads is 4 in org/a and 8 in org/b" in line for line in said(plan))


def test_a_config_that_contradicts_its_own_matrices_is_refused() -> None:
    plan = plan_of(LINEAR, pair({"rows": 4}, {"rows": 8}))
    assert of_meaning(said(plan)) == [
        "org/b: config.json of org/b says 2 heads (num_key_value_heads) of 2 (head_dim), so 4 rows in "
        "model.layers.0.self_attn.k_proj.weight, which has 8. Get the model's files anew: config.json and "
        "weights do not belong together."
    ]


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({"rope_theta": 1e4}, {"rope_parameters": {"rope_theta": 1e6}},
         "rope_theta is 10000.0 in org/a and 1000000.0 in org/b"),
        ({"rope_theta": 1e4}, {"rope_theta": 1e4, "rope_scaling": {"type": "yarn", "factor": 4}},
         "rope_type is default in org/a and yarn in org/b"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1}}},
         {"rope_parameters": {"full_attention": {"rope_theta": 2}}},
         "rope_theta of full_attention is 1 in org/a and 2 in org/b"),
        ({"hidden_act": "silu"}, {"hidden_act": "gelu"}, "hidden_act is silu in org/a and gelu in org/b"),
        ({"rms_norm_eps": 1e-6}, {"rms_norm_eps": 1e-3}, "rms_norm_eps is 1e-06 in org/a and 0.001 in org/b"),
        ({"sliding_window": None}, {"sliding_window": 4096},
         "sliding_window is None in org/a and 4096 in org/b"),
        ({"partial_rotary_factor": 1.0}, {"partial_rotary_factor": 0.5},
         "partial_rotary_factor is 1.0 in org/a and 0.5 in org/b"),
        ({"num_experts_per_tok": 2}, {"num_experts_per_tok": 4},
         "num_experts_per_tok is 2 in org/a and 4 in org/b"),
    ],
)  # fmt: skip
def test_other_settings_that_differ_are_told_with_both_values(
    first: dict[str, Any], second: dict[str, Any], what: str
) -> None:
    plan = plan_of(LINEAR, pair(first, second))
    assert of_meaning(said(plan)) == []
    assert of_meaning(said(plan, "warn")) == [f"config.json: {what}; the result has that of org/a."]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"rope_theta": 10000}, {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}),
        ({"rms_norm_eps": 1e-6}, {"rms_norm_eps": 1e-5}),
        ({"sliding_window": None}, {"sliding_window": 4096, "use_sliding_window": False}),
        ({"hidden_act": "silu"}, {}),
    ],
)
def test_what_is_the_same_in_other_words_is_not_told(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert of_meaning(said(plan_of(LINEAR, pair(first, second)), "warn")) == []
