"""What the plan says of a recipe by itself: method, inputs, parameters."""

import pytest

from tests.merge.builders import LINEAR, plan_of, said

A_AND_B = "models: [{model: org/a}, {model: org/b}]\n"
THREE = "models: [{model: org/a}, {model: org/b}, {model: org/c}]\n"


def weighted(method: str, more: str = "", weight: object = 1) -> str:
    """A merge of org/b into its base org/a."""
    return (
        f"models: [{{model: org/a}}, {{model: org/b, parameters: {{weight: {weight}}}}}]\n"
        f"merge_method: {method}\nbase_model: org/a\n{more}\n"
    )


def test_a_sound_recipe_has_nothing_against_it() -> None:
    plan = plan_of(LINEAR)
    assert said(plan, "fail") == said(plan, "warn") == []
    assert "merge_method: Linear, 2 models" in said(plan, "ok")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            weighted("dare-ties"),
            "merge_method: 'dare-ties' is no merge method of mergekit. Did you mean 'dare_ties'?",
        ),
        (
            A_AND_B + "merge_method: slerp\nparameters: {t: 0.5}",
            "base_model: slerp needs a base_model. Add base_model: with the common ancestor.",
        ),
        (
            THREE + "merge_method: slerp\nbase_model: org/a\nparameters: {t: 0.5}",
            "models: slerp takes 2 models, and here are 3. "
            "Correct the list of models, or choose another merge_method.",
        ),
        (
            A_AND_B + "merge_method: model_stock\nbase_model: org/a",
            "models: model_stock takes at least 3 models, and here are 2. "
            "Correct the list of models, or choose another merge_method.",
        ),
        (
            A_AND_B + "merge_method: passthrough",
            "models: passthrough takes 1 model, and here are 2. "
            "Correct the list of models, or choose another merge_method.",
        ),
        (
            "models: [{model: org/b}, {model: org/b}]\nmerge_method: arcee_fusion\nbase_model: org/b",
            "models: org/b is an input twice in one slice. Remove one of the entries.",
        ),
        (
            A_AND_B + "merge_method: linear",
            "parameters: linear needs weight for org/a in models. Add parameters: {weight: …}.",
        ),
        (
            "slices: [{sources: [{model: org/b, layer_range: [0, 2]}]}]\nmerge_method: ties\n"
            "base_model: org/a\nparameters: {weight: 1}",
            "base_model: The base_model org/a is not among the sources of slices[0]. "
            "Add it as a source there.",
        ),
        (
            weighted("ties", "parameters: {densty: 0.5}"),
            "parameters: ties has no parameter 'densty'. Did you mean 'density'?",
        ),
        (
            weighted("ties", "parameters: {density: high}"),
            "parameters: density is 'high', which is no number. "
            "Write a number, or a list of them as a gradient.",
        ),
        (
            weighted("ties", "parameters: {density: [{filter: mlp, value: 0.1}, {value: x}]}"),
            "parameters: density is 'x', which is no number. "
            "Write a number, or a list of them as a gradient.",
        ),
        (
            "models: [{model: org/a, parameters: {weight: 1}}, {model: org/b, parameters: {weight: -1}}]\n"
            "merge_method: linear",
            "parameters: The weights sum to zero, and normalize divides by that. "
            "Change a weight, or set normalize: false.",
        ),
        (
            weighted("della", "parameters: {density: 0.9, epsilon: 0.2}"),
            "parameters: della needs density ± epsilon inside 0 to 1; org/b has 0.9 ± 0.2. "
            "Lower epsilon, or move density to the middle.",
        ),
        (
            weighted("ties", weight="[{filter: mlp, value: 1}]"),
            "parameters: ties needs weight for org/b, and none of its filters names "
            "model.embed_tokens.weight. End its list with an entry that has a value and no filter.",
        ),
        (
            weighted("ties", "dtype: bf16"),
            "dtype: dtype 'bf16' is not known. Use one of: bfloat16, float16, float32, float64.",
        ),
        (
            weighted("ties", "out_dtype: half"),
            "out_dtype: out_dtype 'half' is not known. Use one of: bfloat16, float16, float32, float64.",
        ),
        (
            weighted("ties", "chat_template: chatlm"),
            "chat_template: chat_template 'chatlm' is not known. "
            "Use one of: auto, alpaca, chatml, exaone, llama3, mistral or a Jinja template.",
        ),
    ],
)
def test_what_mergekit_would_refuse_late_is_refused_at_once(text: str, message: str) -> None:
    plan = plan_of(text)
    assert message in said(plan)
    assert plan.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            weighted("ties", "parameters: {density: 1.5}"),
            "parameters: The density 1.5 of org/b is outside 0 to 1; mergekit takes it as 1.",
        ),
        (
            weighted("ties", "parameters: {colour: 1}"),
            "parameters: mergekit ignores 'colour': ties has no such parameter.",
        ),
        (
            weighted("ties") + "options: {trust_remote_code: true}",
            "trust_remote_code: Code that the models bring will run on this machine.",
        ),
    ],
)
def test_what_works_otherwise_than_written_is_warned_of(text: str, message: str) -> None:
    plan = plan_of(text)
    assert message in said(plan, "warn")
    assert said(plan) == []


@pytest.mark.parametrize(
    "text",
    [
        weighted("ties", weight="[0, 0.5, 1]"),
        weighted("ties", weight="[{filter: mlp, value: 1}, {value: 0.5}]"),
        weighted("ties", weight="[{filter: mlp, value: [0, 1]}, {filter: '*', value: 0.5}]"),
        weighted("ties", weight="1e-3"),
        weighted("ties", "dtype: torch.bfloat16"),
        weighted("ties", "chat_template: \"{% for message in messages %}{{ message.content }}{% endfor %}\""),
        weighted("della", "parameters: {density: 1.0}"),
        "models: [{model: org/a, parameters: {weight: 1}}, {model: org/b, parameters: {weight: -1}}]\n"
        "merge_method: linear\nparameters: {normalize: false}",
        "models: [{model: org/b, parameters: {weight: 1}}]\nmerge_method: ties\nbase_model: org/a",
        "models: [{model: org/b}, {model: org/c}]\nmerge_method: model_stock\nbase_model: org/a",
    ],
)  # fmt: skip
def test_every_way_to_write_it_is_taken(text: str) -> None:
    plan = plan_of(text)
    assert said(plan) == said(plan, "warn") == []


@pytest.mark.parametrize("where", ["source", "slice", "global"])
def test_a_parameter_is_found_wherever_mergekit_looks_for_it(where: str) -> None:
    parameters = {
        level: "parameters: {weight: 1}" if level == where else "" for level in ("source", "slice", "global")
    }
    source = f"{{model: org/a, layer_range: [0, 2], {parameters['source']}}}"
    text = f"slices: [{{sources: [{source}], {parameters['slice']}}}]\nmerge_method: linear\n"
    text += parameters["global"]
    assert said(plan_of(text)) == []


MOE = """
base_model: org/a
{more}
experts:
  - {{source_model: org/b, positive_prompts: [{first}]}}
  - {{source_model: {second}, positive_prompts: [{prompt}]}}
"""


def moe(more: str = "", first: str = "code", second: str = "org/c", prompt: str = "prose") -> str:
    return MOE.format(more=more, first=first, second=second, prompt=prompt)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            moe("experts_per_token: 3"),
            "experts_per_token: 3 experts per token are more than the 2 there are. "
            "Lower experts_per_token, or add experts.",
        ),
        (
            moe(first=""),
            "experts: Expert 0 has no positive_prompts. "
            "Add prompts that should go to it, or set gate_mode: random.",
        ),
        (
            moe(prompt="code"),
            "experts: All experts have the same prompts. Give each the prompts that should go to it.",
        ),
        (
            moe(second="org/b"),
            "experts: All experts are the same model, so the result equals it. Use different models.",
        ),
        (
            moe("architecture: bogus"),
            "architecture: architecture 'bogus' is not known. "
            "Use one of: mixtral, deepseek moe, qwen moe, qwen3 moe.",
        ),
        (
            moe("dtype: bf16"),
            "dtype: dtype 'bf16' is not known. Use one of: bfloat16, float16, float32, float64.",
        ),
    ],
)
def test_a_mixture_that_mergekit_would_refuse_is_refused(text: str, message: str) -> None:
    assert said(plan_of(text)) == [message]


@pytest.mark.parametrize("text", [moe(), moe("gate_mode: random", first="", prompt="")])
def test_a_sound_mixture_has_nothing_against_it(text: str) -> None:
    plan = plan_of(text)
    assert said(plan) == []
    assert "architecture: 2 experts of llama" in said(plan, "ok")
    assert dict(plan.summary)["method"] == "mixture of experts"
