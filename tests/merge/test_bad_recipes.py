"""Recipes that are wrong in what they say: all end with 2 in the plan, never in the middle of a merge."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from llmcourse.core.errors import LlmcourseError
from llmcourse.core.model import Tensor
from llmcourse.merge.architecture_checks import present
from llmcourse.merge.failures import reason_of
from llmcourse.merge.looking import look_up
from llmcourse.merge.plan import plan
from tests.merge.builders import config, facts, model, plan_of, said
from tests.model_folders import whole_llama_shapes


def recipe(
    method: str, parameters: str, more: str = "", models: str = "org/a, org/b", base: str = "org/c"
) -> str:
    listed = ", ".join(f"{{model: {name}}}" for name in models.split(", "))
    written = f"models: [{listed}]\nmerge_method: {method}\nparameters: {{{parameters}}}\n{more}\n"
    return written + (f"base_model: {base}\n" if base else "")


def ended(text: str) -> tuple[int, str]:
    """The exit code and the first sentence, wherever it is found."""
    try:
        planned = plan_of(text)
    except LlmcourseError as error:
        return error.exit_code, error.what
    return planned.exit_code, said(planned)[0] if planned.failures else ""


NUMBERS = [
    ".nan",
    ".inf",
    "-.inf",
    "1e400",
    "[1, .nan]",
    "{value: [.inf, 1]}",
    "[{filter: mlp, value: .nan}, {value: 1}]",
]
FORMS = [
    "x", "null", "{}", "[[1]]", "[null, 1]", "{value: 1, filter: 5}", "[{value: 1}, 2]", "[{vale: 1}]",
    "{filter: mlp}", "{filter: mlp, value: {value: 1}}", "2026-01-01", "[{filter: nowhere, value: 1}]",
]  # fmt: skip


@pytest.mark.parametrize("value", [*NUMBERS, *FORMS])
@pytest.mark.parametrize(
    ("method", "key"), [("linear", "weight"), ("ties", "weight"), ("multislerp", "weight")]
)
def test_a_value_that_is_none(method: str, key: str, value: str) -> None:
    code, what = ended(recipe(method, f"{key}: {value}", base="org/c" if method == "ties" else ""))
    assert code == 2 and key in what


@pytest.mark.parametrize(
    ("method", "parameters", "word"),
    [
        ("karcher", "max_iter: 99999999999999999999", "max_iter"),
        ("karcher", "max_iter: 1.5", "max_iter"),
        ("karcher", "tol: -1", "tol"),
        ("sce", "select_topk: 5", "select_topk"),
        ("ramplus_tl", "epsilon: 0", "epsilon"),
        ("multislerp", "eps: -1, weight: 1", "eps"),
        ("multislerp", "weight: 0", "sum to zero"),
        ("dare_ties", "weight: 1, density: -1", "density"),
        ("dare_linear", "weight: 1, density: [0.5, -0.5]", "density"),
        ("breadcrumbs", "weight: 1, gamma: 2", "gamma"),
        ("della", "weight: 1, density: [0.1, 0.9]", "density ± epsilon"),
        ("della_linear", "weight: 1, density: 0.5, epsilon: [0.1, 0.7]", "density ± epsilon"),
        ("della", "weight: 1, density: [{filter: mlp, value: 0.05}, {value: 0.5}]", "mlp"),
        ("ties", "weight: 1, colour: [[1]]", "colour"),
        ("ties", "weight: 1, normalize: maybe", "normalize"),
        ("linear", "weight: 1, normalize: 7", "normalize"),
    ],
)
def test_a_value_that_a_method_makes_nothing_of(method: str, parameters: str, word: str) -> None:
    code, what = ended(recipe(method, parameters))
    assert code == 2 and word in what


def test_weights_that_cancel_in_one_layer_only_are_found_in_it() -> None:
    text = """
        models:
          - {model: org/a, parameters: {weight: [1, 0]}}
          - {model: org/b, parameters: {weight: [-0.5, 0]}}
        merge_method: linear
    """
    code, what = ended(text)
    assert code == 2 and "The weights sum to zero in model.layers.1." in what


@pytest.mark.parametrize(
    "more",
    [
        "chat_template: '{% for m in messages %}{{ m.content }}'",
        "tokenizer: {source: base, tokens: {x: {force: true}}}",
        "tokenizer: {source: base, tokens: {x: {source: {kind: model_token, model: org/a}}}}",
        "tokenizer: {source: base, tokens: {x: {source: {kind: model_token, model: org/a, token_id: -1}}}}",
        "tokenizer: {source: base, tokens: {x: {source: {kind: model_token, model: org/a, token_id: 8}}}}",
        "tokenizer: {source: base, tokens: {x: {source: {kind: model_token, model: org/z, token_id: 1}}}}",
        "tokenizer: {source: base, tokens: {x: {source: {kind: other}}}}",
        "tokenizer: {source: base, pad_to_multiple_of: 0}",
        "tokenizer: {source: base, pad_to_multiple_of: -8}",
        "tokenizer: {source: base, pad_to_multiple_of: 99999999999}",
        "options: {out_shard_size: -5}",
        "options: {out_shard_size: 0}",
        "options: {out_shard_size: 5XB}",
        "options: {num_threads: 100000}",
        "options: {device: tpu}",
        "options: {device: meta}",
        "options: {lora_merge_dtype: bf16}",
        "card: {license: mine}",
        "hub: me/x",
        "dtype: int64",
    ],
)
def test_a_key_with_a_value_that_cannot_be(more: str) -> None:
    assert ended(recipe("linear", "weight: 1", more))[0] == 2


@pytest.mark.parametrize(
    "layers", ["[3, 1]", "[-2, 1]", "[1, 1]", "[1]", "[1, 2, 3]", "[0, .nan]", "4", "'0-4'"]
)
def test_layers_that_are_none(layers: str) -> None:
    text = f"slices: [{{sources: [{{model: org/a, layer_range: {layers}}}]}}]\nmerge_method: passthrough"
    assert ended(text)[0] == 2


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("architecture: mixtrl", "not known"),
        ("gate_mode: hiden", "gate_mode cannot be"),
        ("experts_per_token: 3", "more than"),
    ],
)
def test_a_mixture_that_mergekit_cannot_make(more: str, word: str) -> None:
    experts = "[{source_model: org/a, positive_prompts: [x]}, {source_model: org/b, positive_prompts: [y]}]"
    code, what = ended(f"base_model: org/c\nexperts: {experts}\n{more}")
    assert code == 2 and word in what


@pytest.mark.parametrize(
    "expert", ["positive_prompts: ['']", "positive_prompts: x", "noise_scale: .nan", "residual_scale: .inf"]
)
def test_an_expert_that_says_something_impossible(expert: str) -> None:
    other = "{source_model: org/b, positive_prompts: [y]}"
    prompts = "" if "prompts" in expert else "positive_prompts: [x], "
    text = f"base_model: org/c\nexperts: [{{source_model: org/a, {prompts}{expert}}}, {other}]"
    assert ended(text)[0] == 2


def test_a_tensor_that_mergekit_needs_and_no_model_has_is_named() -> None:
    """What it knows of an architecture is read from the files that it brings."""
    read = config("models: [{model: org/a}]\nmerge_method: passthrough")
    shapes = whole_llama_shapes()
    tensors = {
        key: Tensor(shape, "BF16", 2 * prod(shape), "model.safetensors") for key, shape in shapes.items()
    }
    whole = replace(model(), tensors=tensors)
    assert plan(read, replace(facts(read, {"org/a": whole}), present=present())).exit_code == 0
    del tensors["model.norm.weight"]
    found = plan(read, replace(facts(read, {"org/a": whole}), present=present()))
    assert said(found) == [
        "org/a: org/a has no model.norm.weight, which mergekit wants of a LlamaForCausalLM. "
        "Get the model's files anew, or give another one."
    ]
    both = config("models: [{model: org/a}, {model: org/b}]\nmerge_method: linear\nparameters: {weight: 1}")
    found = plan(both, replace(facts(both, {"org/a": whole, "org/b": whole}), present=present()))
    assert all("mergekit knows this architecture with it only" in line for line in said(found))
    assert len(said(found)) == 2


def test_della_is_refused_where_a_row_has_one_number_unless_all_of_it_is_kept() -> None:
    """It ranks the numbers of a row between the least and the greatest; mergekit 0.1.5 gets 0/0 of one."""
    shapes = {"model.layers.0.mixer.conv1d.weight": (8, 1, 4), "model.layers.0.mixer.A.weight": (8, 4)}
    tensors = {key: Tensor(shape, "BF16", 2 * prod(shape), "f") for key, shape in shapes.items()}
    other = replace(
        model(), tensors=tensors, config={**model().config, "architectures": ["OtherForCausalLM"]}
    )
    models = {f"org/{name}": other for name in "abc"}
    parameters = "weight: 1, density: [{filter: conv1d, value: 0.5}, {value: 1}]"
    [line] = said(plan_of(recipe("della_linear", parameters), models))
    assert line == (
        "parameters: della_linear ranks the numbers of each row, and there is one only in "
        "model.layers.0.mixer.conv1d.weight. Write density: [{filter: conv1d, value: 1}, {value: …}], "
        "or use dare_linear."
    )
    kept = "weight: 1, density: [{filter: conv1d, value: 1}, {value: 0.5}]"
    assert said(plan_of(recipe("della", kept), models)) == []
    llama = {f"org/{name}": replace(model(), tensors={**model().tensors, **tensors}) for name in "abc"}
    assert said(plan_of(recipe("della", "weight: 1, density: 0.5"), llama)) == [], "it leaves them out"


@pytest.mark.parametrize("modules", ["{nothing: {models: [{model: org/a}]}}"])
def test_a_module_that_the_models_have_not(modules: str) -> None:
    read = config(f"modules: {modules}\nmerge_method: passthrough")
    found = plan(read, replace(facts(read), present=present()))
    assert found.exit_code == 2 and "These models have no module 'nothing'." in said(found)[0]


def test_a_token_that_a_folder_s_tokenizer_has_not(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(
        '{"model": {"vocab": {"the": 0}}, "added_tokens": [{"content": "<s>"}]}'
    )
    other = f"{{kind: model_token, model: {tmp_path}, token: '<x>'}}"
    tokens = f"<s>: {{source: {tmp_path}}}, new: {{source: {other}}}"
    read = config(
        recipe(
            "linear", "weight: 1", f"tokenizer: {{source: union, tokens: {{{tokens}}}}}", str(tmp_path), ""
        )
    )
    found = plan(read, replace(facts(read), present=look_up(read)))
    assert f"tokenizer.tokens: {tmp_path} has no token '<x>'. Name one that it has." in said(found)
    assert found.exit_code == 2 and "'<s>'" not in " ".join(said(found))


@pytest.mark.parametrize(
    ("error", "logged", "reason"),
    [
        (SystemExit(1), "Expert 0 has no positive prompts", "Expert 0 has no positive prompts."),
        (
            RuntimeError("Couldn't instantiate the backend tokenizer from one of:\n(1) a file,\n(2) b"),
            "",
            "one of: (1) a file,",
        ),
        (
            ValueError("1 validation error for int\n  Input should be a valid integer [x]\n  more"),
            "",
            "int Input should be",
        ),
        (KeyError("nothing"), "", "there is no 'nothing'."),
        (AssertionError(), "Missing weight: x", "Missing weight: x."),
        (AssertionError(), "", "AssertionError"),
    ],
)
def test_what_mergekit_raises_has_its_reason(error: BaseException, logged: str, reason: str) -> None:
    assert reason in reason_of(error, logged)
