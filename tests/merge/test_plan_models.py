"""What the plan says of a recipe's models, from their headers alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.errors import PlanError
from llmcourse.core.model import ModelFacts, ModelRef, Tensor
from llmcourse.core.vocabulary import TokenizerFacts
from llmcourse.merge.plan import plan
from tests.merge.builders import LINEAR, adapter, config, facts, model, plan_of, said
from tests.packed_layouts import LAYOUTS, packed

SLICES = """
slices:
  - sources:
      - {{model: org/a, layer_range: {first}, parameters: {{weight: 1}}}}
      - {{model: org/b, layer_range: {second}, parameters: {{weight: 1}}}}
merge_method: linear
"""
EMBEDDING = """
merge_method: linear
models: [{model: org/a, parameters: {weight: 1}}]
tokenizer: {tokens: {x: {source: {kind: model_token, model: org/b, token_id: 1}}}}
"""
MIXTURE = """
base_model: org/a
experts:
  - {source_model: org/b, positive_prompts: [code]}
  - {source_model: org/c, positive_prompts: [prose]}
"""


def mistral(name: str) -> ModelFacts:
    facts = model(name)
    return replace(
        facts, config={**facts.config, "architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    )


def without_tokenizer(facts: ModelFacts) -> ModelFacts:
    return replace(facts, files={name: size for name, size in facts.files.items() if "tokenizer" not in name})


def with_config(facts: ModelFacts, **changes: Any) -> ModelFacts:
    return replace(facts, config={**facts.config, **changes})


def pickled(name: str) -> ModelFacts:
    files = {"pytorch_model.bin": 500, "tokenizer.json": 10}
    return replace(model(name), is_pickled=True, tensors={}, weight_files=("pytorch_model.bin",), files=files)


def test_models_of_two_architectures_are_refused() -> None:
    assert said(plan_of(LINEAR, {"org/b": mistral("org/b")})) == [
        "architecture: The architectures differ: org/a is LlamaForCausalLM, org/b is MistralForCausalLM. "
        "Merge models of one architecture, or set options.allow_crimes=true."
    ]


@pytest.mark.parametrize("wish", ["options: {allow_crimes: true}", "profile: cpu"])
def test_architectures_may_be_mixed_when_asked(wish: str) -> None:
    plan = plan_of(f"{wish}\nmerge:{LINEAR}", {"org/b": mistral("org/b")})
    assert said(plan) == []
    assert said(plan, "warn")[0].startswith("architecture: Architectures are mixed, as allow_crimes asks: ")


def test_a_model_may_be_read_as_another_architecture() -> None:
    text = """
    models:
      - {model: org/a, parameters: {weight: 1}}
      - {model: {model: org/b, override_architecture: LlamaForCausalLM}, parameters: {weight: 1}}
    merge_method: linear
    """
    assert said(plan_of(text, {"org/b": mistral("org/b")})) == []


@pytest.mark.parametrize(
    ("first", "second", "messages"),
    [
        (
            "[0, 3]",
            "[0, 3]",
            [
                f"layer_range: Layers 0 to 3 of {name} do not exist; it has 2. "
                "Choose a range inside [0, 2], its start below its end."
                for name in ("org/a", "org/b")
            ],
        ),
        (
            "[0, 1]",
            "[0, 2]",
            [
                "layer_range: The sources of slice 0 have 1 and 2 layers. "
                "Give every source of a slice the same number of layers."
            ],
        ),
        ("[0, 1]", "[1, 2]", []),
    ],
)
def test_layers_must_exist_and_pair_up(first: str, second: str, messages: list[str]) -> None:
    assert said(plan_of(SLICES.format(first=first, second=second))) == messages


def test_models_of_two_depths_are_refused_without_slices() -> None:
    assert said(plan_of(LINEAR, {"org/b": model("org/b", layers=3)})) == [
        "layers: The models differ in layers: org/a has 2, org/b has 3. "
        "Merge models of one depth, or write slices with layer_range."
    ]


def test_a_tensor_of_two_shapes_is_named_with_its_models() -> None:
    other = model("org/b", hidden=6)
    [message] = said(plan_of(LINEAR, {"org/b": replace(other, config=model().config)}))
    assert message == (
        "shapes: model.embed_tokens.weight is 8×4 in org/a and 8×6 in org/b. "
        "Merge models of one size and architecture."
    )


def test_layers_are_compared_as_the_slices_pair_them() -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    other = model("org/b")
    odd = replace(other, tensors={**other.tensors, name: Tensor((9, 4), "BF16", 72, "model.safetensors")})
    assert said(plan_of(SLICES.format(first="[0, 1]", second="[0, 1]"), {"org/b": odd})) == []
    [message] = said(plan_of(SLICES.format(first="[0, 1]", second="[1, 2]"), {"org/b": odd}))
    assert message.startswith("shapes: model.layers.0.mlp.up_proj.weight is 8×4 in org/a and 9×4 in org/b.")


LARGER = {"org/b": model("org/b", vocab=10)}


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (
            "",
            "fail",
            "vocabulary: The vocabularies differ: org/a has 8, org/b has 10. "
            "Add tokenizer: {source: base} or {source: union} to the merge.",
        ),
        (
            "tokenizer: {source: union}",
            "ok",
            "vocabulary: Vocabularies differ (org/a has 8, org/b has 10); "
            "the result's vocabulary is the union, embeddings are matched token by token.",
        ),
        (
            "tokenizer_source: base",
            "ok",
            "vocabulary: Vocabularies differ (org/a has 8, org/b has 10); "
            "the base model's vocabulary is kept, embeddings are matched token by token.",
        ),
        (
            "tokenizer_source: org/b",
            "ok",
            "vocabulary: Vocabularies differ (org/a has 8, org/b has 10); "
            "the vocabulary of org/b is kept, embeddings are matched token by token.",
        ),
    ],
)
def test_vocabularies_that_differ_need_a_tokenizer(more: str, status: str, message: str) -> None:
    plan = plan_of(f"{LINEAR}    {more}\n", LARGER)
    assert message in said(plan, status)  # type: ignore[arg-type]
    assert (plan.exit_code == 4) == (status == "fail")


def test_vocabularies_are_cut_only_when_asked() -> None:
    plan = plan_of(f"options: {{unsafe_truncate_embeddings: true}}\nmerge:{LINEAR}", LARGER)
    assert said(plan) == []
    assert (
        "vocabulary: Vocabularies differ (org/a has 8, org/b has 10) and are cut to the shortest, as asked."
    ) in said(plan, "warn")


@pytest.mark.parametrize(
    ("wrapper", "more", "bare", "message"),
    [
        ("", "", "org/a", "org/a has no tokenizer that could be copied."),
        ("", "tokenizer_source: union", "org/b", "org/b has no tokenizer that could be read."),
        ("", "", "org/b", None),
        ("options: {copy_tokenizer: false}", "", "org/a", None),
    ],
)
def test_a_tokenizer_must_be_there_where_it_is_needed(
    wrapper: str, more: str, bare: str, message: str | None
) -> None:
    text = f"{wrapper}\nmerge:{LINEAR}    {more}\n"
    fix = "Add its tokenizer files, or set options.copy_tokenizer=false."
    expected = [f"tokenizer: {message} {fix}"] if message else []
    assert said(plan_of(text, {bare: without_tokenizer(model(bare))})) == expected


def test_tokenizers_that_differ_are_warned_of() -> None:
    other = model("org/b")
    plan = plan_of(LINEAR, {"org/b": replace(other, files={**other.files, "tokenizer.json": 11})})
    assert said(plan, "warn") == [
        "tokenizer: The models' tokenizer.json files differ, and the first model's tokenizer is copied. "
        "If their vocabularies differ, add tokenizer: {source: base} or {source: union}."
    ]


def test_pickled_weights_are_refused_unless_trusted() -> None:
    [message] = said(plan_of(LINEAR, {"org/b": pickled("org/b")}))
    assert message == (
        "org/b: org/b has pickled weights (pytorch_model.bin), which can run code when read. "
        "Use a model with safetensors, or set allow_pickle=true if you trust it."
    )
    trusted = plan_of(f"allow_pickle: true\nmerge:{LINEAR}", {"org/b": pickled("org/b")})
    assert said(trusted) == []
    assert said(trusted, "warn") == ["shapes: Pickled weights cannot be checked without loading them: org/b."]


def test_an_adapter_is_no_model() -> None:
    messages = said(plan_of(LINEAR, {"org/b": adapter("org/b")}))
    assert messages[0] == "org/b: org/b is a LoRA adapter, not a model. Write it as org/a+org/b."


def test_a_model_is_no_lora() -> None:
    text = "models: [{model: org/a+org/b}]\nmerge_method: passthrough"
    assert said(plan_of(text)) == ["org/a+org/b: org/b is no LoRA adapter. Write model+lora, in this order."]
    assert said(plan_of(text, {"org/b": adapter("org/b")})) == []


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"org/c": mistral("org/c")},
            "architecture: The experts' architectures differ: org/a is llama, org/b is llama, "
            "org/c is mistral. Use experts of one kind.",
        ),
        (
            {name: with_config(model(name), model_type="gpt2") for name in ("org/a", "org/b", "org/c")},
            "architecture: mergekit makes no mixture of gpt2 models. "
            "Use models of one of these kinds: llama, mistral, qwen2, qwen3.",
        ),
        (
            {"org/c": with_config(model("org/c"), intermediate_size=99)},
            "shapes: intermediate_size is 8 in org/a and 99 in org/c. Use experts of one size.",
        ),
        (
            {"org/a": without_tokenizer(model("org/a"))},
            "tokenizer: org/a has no tokenizer. Add its tokenizer files.",
        ),
    ],
)
def test_experts_must_be_alike(models: Mapping[str, ModelFacts], message: str) -> None:
    assert said(plan_of(MIXTURE, models)) == [message]


def test_a_model_that_cannot_be_read_is_said_in_its_own_words() -> None:
    gone = PlanError("There is no org/b on the Hub that you can see.", "Check the name.")
    plan = plan_of(LINEAR, {"org/b": gone})
    assert said(plan) == ["org/b: There is no org/b on the Hub that you can see. Check the name."]
    assert plan.exit_code == 4


def test_a_tensor_that_one_model_lacks_is_said() -> None:
    facts = model("org/b")
    tensors = {name: tensor for name, tensor in facts.tensors.items() if name != "model.norm.weight"}
    [message] = said(plan_of(LINEAR, {"org/b": replace(facts, tensors=tensors)}), "warn")
    assert message.startswith("tensors: org/a has model.norm.weight and org/b has not; mergekit stops")


def test_one_model_under_two_names_is_told() -> None:
    text = """
        models: [{model: org/a}, {model: org/a@main}]
        merge_method: linear
        parameters: {weight: 1}
    """
    found = said(plan_of(text), "warn")
    assert found == ["org/a@main: org/a and org/a@main are the same model, counted twice as in mergekit."]


def test_a_revision_of_a_folder_is_told_to_mean_nothing(tmp_path: Path) -> None:
    folder = replace(model(), ref=ModelRef(str(tmp_path), None, is_local=True), revision=None)
    name = f"{tmp_path}@main"
    text = f"models: [{{model: {name}}}]\nmerge_method: passthrough"
    sentence = f"{name}: {tmp_path} is a folder, which has no revisions: {name} is the folder as it is."
    assert sentence in said(plan_of(text, {name: folder}), "warn")


@pytest.mark.parametrize("label", LAYOUTS)
@pytest.mark.parametrize(
    "recipe",
    [
        LINEAR,
        "merge_method: slerp\nbase_model: org/a\nmodels: [{model: org/b}]\nparameters: {t: 0.5}",
        MIXTURE,
        "merge_method: linear\nmodels: [{model: org/b+org/lora, parameters: {weight: 1}}]",
        EMBEDDING,
    ],
    ids=["parent", "beside a base", "expert", "base of an adapter", "giver of an embedding"],
)
def test_quantized_models_are_refused_by_name_wherever_they_give_weights(label: str, recipe: str) -> None:
    models = {"org/b": packed(label, "org/b"), "org/lora": adapter("org/lora")}
    plan = plan_of(recipe, models)
    assert any(f"org/b is quantized ({label})" in line for line in said(plan))
    assert plan.exit_code == 4


def test_quantized_base_model_is_refused() -> None:
    recipe = (
        "merge_method: ties\nbase_model: org/a\nmodels: [{model: org/b, parameters: {weight: 1, density: 1}}]"
    )
    [line] = said(plan_of(recipe, {"org/a": packed("block FP8", "org/a")}))
    assert line.startswith(
        "org/a: org/a is quantized (block FP8): model.layers.0.mlp.up_proj.weight is F8_E4M3."
    )


def test_statement_left_over_beside_full_weights_is_told() -> None:
    stated = with_config(model("org/b"), quantization_config={"quant_method": "gptq"})
    plan = plan_of(LINEAR, {"org/b": stated})
    assert said(plan) == []
    assert any("but its tensors are weights in full" in line for line in said(plan, "warn"))


def tokens(*more: str, **parts: str) -> TokenizerFacts:
    return TokenizerFacts({token: number for number, token in enumerate(("a", "b", *more))}, parts)


def said_of_tokenizers(recipe: str, first: TokenizerFacts, other: TokenizerFacts) -> list[str]:
    read = config(recipe)
    known = replace(facts(read), tokenizers={"org/a": first, "org/b": other})
    made = plan(read, known)
    return [line for line in [*said(made), *said(made, "warn")] if "tokenizer" in line]


def test_same_tokens_in_files_of_other_sizes_are_no_difference() -> None:
    assert said_of_tokenizers(LINEAR, tokens(), tokens()) == []


def test_what_a_fine_tune_s_tokenizer_has_more_is_told() -> None:
    [line] = said_of_tokenizers(LINEAR, tokens(), tokens("<x>", **{"chat template": "t"}))
    assert "The tokenizer of org/a is copied, and org/b's differs: 1 more tokens ('<x>' first)" in line
    assert "another chat template" not in line  # org/a's facts name no template to compare with


def test_another_chat_template_alone_has_a_fix_of_its_own() -> None:
    key = "chat template"
    [line] = said_of_tokenizers(LINEAR, tokens(**{key: ""}), tokens(**{key: "t"}))
    assert "org/b's differs: another chat template. Add chat_template: auto" in line


def test_token_without_an_embedding_stops_a_merge_that_matches_tokens() -> None:
    beyond = tokens(*"cdefgh", "<pad>")  # the ninth of eight rows
    [line] = said_of_tokenizers(f"{LINEAR}    tokenizer: {{source: union}}\n", beyond, tokens())
    assert "org/a: The tokenizer of org/a has the token '<pad>' with the id 8" in line
    made = said_of_tokenizers(LINEAR, beyond, beyond)
    assert len(made) == 2 and all("'<pad>'" in line for line in made)


SHARED = "shared_experts: [{source_model: org/b}]"


@pytest.mark.parametrize(
    ("kind", "more", "what"),
    [
        ("llama", f"architecture: mixtral\n{SHARED}", "A Mixtral mixture has no shared experts"),
        ("qwen3", SHARED, "A Qwen3 Moe mixture has no shared experts"),
        ("qwen2", "", "A Qwen mixture has exactly one shared expert, and here are 0"),
        (
            "qwen2",
            SHARED,
            "gate_mode: hidden the shared expert of a Qwen mixture needs positive_prompts",
        ),
        ("llama", "architecture: qwen3", "mergekit makes no mixture of llama models as architecture: qwen3"),
        ("gemma", "", "mergekit makes no mixture of gemma models"),
        ("deepseek", "", "mergekit makes no mixture of deepseek models"),
    ],
)
def test_mixture_that_mergekit_does_not_make_is_refused(kind: str, more: str, what: str) -> None:
    models = {name: with_config(model(name), model_type=kind) for name in ("org/a", "org/b", "org/c")}
    assert any(what in line for line in said(plan_of(f"{MIXTURE}{more}\n", models)))


@pytest.mark.parametrize(("kind", "more"), [("llama", ""), ("llama", SHARED), ("qwen3", "")])
def test_mixture_that_mergekit_makes_has_nothing_against_it(kind: str, more: str) -> None:
    models = {name: with_config(model(name), model_type=kind) for name in ("org/a", "org/b", "org/c")}
    assert said(plan_of(f"{MIXTURE}{more}\n", models)) == []


LORA = "merge_method: linear\nmodels: [{model: org/a+org/lora, parameters: {weight: 1}}]"
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("tensors", "what"),
    [
        ({"base_model.model.model.embed_tokens.weight": (11, 4)},
         "trained with 11 tokens (model.embed_tokens), and org/a has 8"),
        ({"base_model.model.lm_head.weight": (11, 4)}, "trained with 11 tokens (lm_head), and org/a has 8"),
        ({f"{MODULE}.lora_A.weight": (2, 5)}, "its model.layers.0.self_attn.q_proj has 5 columns"),
        ({f"{MODULE}.lora_B.weight": (6, 2)}, "its model.layers.0.self_attn.q_proj has 6 rows"),
        ({"base_model.model.h.0.attn.lora_A.weight": (2, 4)}, "which has no h.0.attn"),
    ],
)  # fmt: skip
def test_lora_that_does_not_fit_its_base_is_refused(tensors: dict[str, tuple[int, int]], what: str) -> None:
    headers = {name: Tensor(shape, "F32", 8, "adapter_model.safetensors") for name, shape in tensors.items()}
    [line] = said(plan_of(LORA, {"org/lora": replace(adapter("org/lora"), tensors=headers)}))
    assert what in line


def test_lora_that_fits_has_nothing_against_it() -> None:
    shapes = {f"{MODULE}.lora_A.weight": (2, 4), f"{MODULE}.lora_B.weight": (4, 2)}
    headers = {name: Tensor(shape, "F32", 8, "adapter_model.safetensors") for name, shape in shapes.items()}
    assert said(plan_of(LORA, {"org/lora": replace(adapter("org/lora"), tensors=headers)})) == []
