"""The plan of a quantization: pure, from hand-made facts and answers."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmcourse.core.errors import MissingError, PlanError
from llmcourse.core.model import Tensor
from llmcourse.core.plan import FileFacts
from llmcourse.quantize_gguf.config import DEFAULT_TYPES, Config
from llmcourse.quantize_gguf.installed_types import file_types
from llmcourse.quantize_gguf.plan import plan as planner
from llmcourse.quantize_gguf.plan import questions
from llmcourse.quantize_gguf.types import TYPES, type_facts
from tests.packed_layouts import packed
from tests.quantize_gguf.builders import adapter, answers, config, facts_of, model, plan_of, said, sized

Q8 = "model: org/tiny\ntypes: [Q8_0]\n"
LORA = "model: org/lora\n"
WITH_LORA = {"models": {"org/lora": adapter()}}


def summary(text: str, **changes: object) -> dict[str, str]:
    return dict(plan_of(text, **changes).summary)


def test_a_plain_model_and_the_usual_types_have_nothing_wrong() -> None:
    plan = plan_of("model: org/tiny")
    assert (said(plan), said(plan, "warn"), plan.exit_code) == ([], [], 0)
    assert plan.pieces == DEFAULT_TYPES
    assert plan.steps == ("convert", *DEFAULT_TYPES)
    assert plan.settings["file_name"] == "tiny.{type}.gguf"


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("Q4_KM", "Did you mean Q4_K_M?"),
        ("Q4-K-M", "Did you mean Q4_K_M?"),
        ("Q9_0", "Did you mean Q"),
        ("IQ4XS", "Did you mean IQ4_XS?"),
        ("AWQ", "Known: "),
    ],
)
def test_a_type_that_is_none_is_a_mistake_of_the_config(name: str, fix: str) -> None:
    plan = plan_of(f"model: org/tiny\ntypes: [{name}, Q8_0]")
    [line] = said(plan)
    assert f"{name} is no type of the installed llama.cpp." in line and fix in line
    assert plan.exit_code == 2


def test_every_wrong_type_is_named() -> None:
    assert len(said(plan_of("model: org/tiny\ntypes: [Q4_KM, Q8_1, Q8_0]"))) == 2


@pytest.mark.parametrize("name", ["NVFP4", "GUESSED", "Q4_0_4_4", "Q4_1_SOME_F16"])
def test_what_cannot_be_made_from_a_model_is_no_type(name: str) -> None:
    assert plan_of(f"model: org/tiny\ntypes: [{name}]").exit_code == 2


def test_every_type_of_the_installed_version_is_known_with_a_word_for_people() -> None:
    unknown = [name for name in file_types() if name not in TYPES or not type_facts(name).advice]
    assert unknown == []
    assert [name for name in TYPES if name not in file_types()] == []


@pytest.mark.parametrize("name", ["IQ1_S", "IQ2_XXS", "IQ2_M", "Q2_K_S", "IQ3_XXS"])
def test_a_type_that_needs_an_imatrix_is_refused_without_one(name: str) -> None:
    plan = plan_of(f"model: org/tiny\ntypes: [{name}, Q8_0]")
    assert said(plan) == [
        f"imatrix: {name} cannot be made without an imatrix. "
        "Add imatrix: {text: calibration.txt}, or leave the type out."
    ]
    assert plan.exit_code == 4


@pytest.mark.parametrize("imatrix", ["{text: calibration.txt}", "ready.dat", "ready.gguf"])
def test_with_an_imatrix_it_is_not(imatrix: str) -> None:
    assert said(plan_of(f"model: org/tiny\ntypes: [IQ2_M, Q2_K_S]\nimatrix: {imatrix}")) == []


def test_llama_cpp_s_own_word_says_who_needs_an_imatrix() -> None:
    wants, wants_not = answers(Q4_K_M=sized(100, True)), answers(IQ2_M=sized(100, False))
    assert "Q4_K_M" in said(plan_of("model: org/tiny\ntypes: [Q4_K_M]", answers=wants))[0]
    assert said(plan_of("model: org/tiny\ntypes: [IQ2_M]", answers=wants_not)) == []


def test_an_imatrix_is_a_gguf_or_dat_file() -> None:
    plan = plan_of("model: org/tiny\nimatrix: calibration.txt")
    assert "calibration.txt is no imatrix file. Give one that ends in .gguf or .dat" in said(plan)[0]
    assert plan.exit_code == 2


@pytest.mark.parametrize(("name", "fix"), [("Q80", "Did you mean Q8_0?"), ("Q4_K_M", "Did you mean Q4_K?")])
def test_a_tensor_has_ggml_s_types_and_no_mixtures(name: str, fix: str) -> None:
    plan = plan_of(f"{Q8}tensor_types: {{attn_v: {name}}}")
    assert said(plan) == [f"tensor_types: {name} is no type of the installed llama.cpp. {fix}"]
    assert plan.exit_code == 2


@pytest.mark.parametrize("name", ["Q8_0", "Q6_K", "IQ4_XS", "F16", "f32", "bf16"])
def test_a_tensor_can_have_what_llama_quantize_takes(name: str) -> None:
    assert said(plan_of(f"{Q8}tensor_types: {{attn_v: {name}}}")) == []


@pytest.mark.parametrize("name", ["I32", "I64", "F64", "Q8_K", "Q8_1", "COUNT"])
def test_a_tensor_cannot_have_what_is_no_type_of_weights(name: str) -> None:
    assert plan_of(f"{Q8}tensor_types: {{attn_v: {name}}}").exit_code == 2


@pytest.mark.parametrize("name", ["modules.json", "model_index.json"])
def test_what_is_no_language_model_is_refused(name: str) -> None:
    found = model()
    plan = plan_of(Q8, models={"org/tiny": replace(found, files={**found.files, name: 10})})
    [line] = said(plan)
    kind = {"modules.json": "sentence-transformers", "model_index.json": "diffusion"}[name]
    assert kind in line and "causal language model" in line
    assert plan.exit_code == 4


def test_a_model_that_cannot_be_read_is_the_only_thing_said() -> None:
    error = PlanError("There is no org/tiny on the Hub.", "Check the name.", "org/tiny")
    plan = plan_of(Q8, models={"org/tiny": error})
    assert said(plan) == ["org/tiny: There is no org/tiny on the Hub. Check the name."]
    assert (plan.exit_code, plan.steps, plan.pieces) == (4, (), ())


def test_a_model_without_a_tokenizer_is_refused() -> None:
    plan = plan_of(Q8, models={"org/tiny": model(files={"model.safetensors": 100, "config.json": 10})})
    [line] = said(plan)
    assert "org/tiny has no tokenizer (tokenizer.model, tokenizer.json, vocab.json)." in line
    assert "Copy the tokenizer files" in line


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json", "x.tiktoken"]
)
def test_any_kind_of_tokenizer_will_do(name: str) -> None:
    files = {"model.safetensors": 100, "config.json": 10, name: 10}
    assert said(plan_of(Q8, models={"org/tiny": model(files=files)})) == []


PICKLED = model(
    tensors={}, is_pickled=True, weight_files=("pytorch_model.bin",),
    files={"pytorch_model.bin": 2_000_000, "config.json": 10, "tokenizer.json": 10},
)  # fmt: skip


def test_pickled_weights_need_to_be_asked_for() -> None:
    plan = plan_of(Q8, models={"org/tiny": PICKLED})
    [line] = said(plan)
    assert "pickled weights (pytorch_model.bin), which can run code" in line and "allow_pickle=true" in line
    allowed = plan_of(f"{Q8}allow_pickle: true", models={"org/tiny": PICKLED})
    assert said(allowed) == []
    assert "1.0 M parameters" in dict(allowed.summary)["model"]


def test_a_pre_tokenizer_that_was_given_reaches_the_conversion_without_answers_too() -> None:
    """Of pickled weights llama.cpp is asked nothing."""
    text = f"{Q8}allow_pickle: true\npre_tokenizer: qwen2"
    settings = plan_of(text, models={"org/tiny": PICKLED}).settings
    assert settings.get("pre_tokenizer", {}).get("name") == "qwen2"


def test_a_pre_tokenizer_for_a_tokenizer_that_has_none_is_said() -> None:
    """A SentencePiece model: the wish would mean nothing."""
    plan = plan_of(f"{Q8}pre_tokenizer: qwen2", answers=answers())
    assert [line for line in said(plan) + said(plan, "warn") if "qwen2" in line]


def test_an_adapter_says_what_to_add() -> None:
    plan = plan_of(LORA, **WITH_LORA)
    [line] = said(plan)
    assert "org/lora is a LoRA adapter" in line
    assert "Add base: org/tiny to convert the adapter, or merge the two first." in line


def test_an_adapter_with_its_base_is_converted_to_f16_unless_asked() -> None:
    plan = plan_of(f"{LORA}base: org/tiny", **WITH_LORA)
    assert (said(plan), plan.pieces) == ([], ("F16",))
    assert plan.settings["adapter_types"] == ("F16",)
    assert plan_of(f"{LORA}base: org/tiny\ntypes: [Q8_0, F32]", **WITH_LORA).pieces == ("Q8_0", "F32")


def test_an_adapter_has_few_types_and_nothing_to_measure() -> None:
    plan = plan_of(f"{LORA}base: org/tiny\ntypes: [Q4_K_M]", **WITH_LORA)
    assert "An adapter cannot be Q4_K_M." in said(plan)[0] and plan.exit_code == 2
    measured = plan_of(f"{LORA}base: org/tiny\nquality: {{text: t.txt}}", **WITH_LORA)
    assert "nothing to measure" in said(measured)[0]


def test_the_base_of_an_adapter_is_no_adapter() -> None:
    plan = plan_of(
        f"{LORA}base: org/other", models={"org/lora": adapter(), "org/other": adapter("org/other")}
    )
    assert said(plan) == ["base: org/other is an adapter itself. Name the model that both are for."]


def test_a_base_for_a_model_that_is_no_adapter_means_nothing_and_is_said() -> None:
    plan = plan_of(f"{Q8}base: org/base")
    assert [line for line in said(plan, "warn") + said(plan) if "base" in line]


@pytest.mark.parametrize(
    ("licence", "warning"),
    [
        (None, "states no licence"),
        ("my-own", "has terms of its own"),
        ("cc-by-nc-nd-4.0", "forbids sharing derivatives"),
    ],
)
def test_a_licence_that_needs_thought_is_a_warning(licence: str | None, warning: str) -> None:
    card = {"license": licence} if licence else {}
    plan = plan_of(Q8, models={"org/tiny": model(card=card)})
    [line] = said(plan, "warn")
    assert warning in line and line.startswith("licence: ")
    assert plan.exit_code == 0


def test_a_licence_in_the_config_settles_it() -> None:
    plan = plan_of(f"{Q8}card: {{license: mit}}", models={"org/tiny": model(card={})})
    assert said(plan, "warn") == []
    assert "no licence the Hub knows" in said(plan_of(f"{Q8}card: {{license: my-own}}"))[0]


def test_a_text_that_is_too_short_is_refused_with_numbers() -> None:
    text = "model: org/tiny\nimatrix: {text: short.txt, chunks: 100}\n"
    tokens = {"tokens": {"short.txt": 1023}}
    plan = plan_of(text, files={"short.txt": FileFacts(20_480, "ab")}, answers=answers() | tokens)
    [line] = said(plan)
    assert "imatrix: short.txt has 1,023 tokens of this model, and 1,024 are needed at least." in line
    assert plan.exit_code == 4


def test_a_text_with_fewer_windows_than_asked_for_is_a_warning() -> None:
    text = "model: org/tiny\nquality: {text: short.txt, chunks: 4}\n"
    tokens = {"tokens": {"short.txt": 1100}}
    plan = plan_of(text, files={"short.txt": FileFacts(100, "ab")}, answers=answers() | tokens)
    assert said(plan) == []
    assert "quality: short.txt has 2 windows of 512 tokens, fewer than the 4 asked for." in said(plan, "warn")


def test_a_text_that_cannot_be_read_is_a_refusal() -> None:
    error = PlanError(
        "/x/gone.txt cannot be read (No such file or directory).", "Check the path.", "/x/gone.txt"
    )
    plan = plan_of("model: org/tiny\nquality: {text: gone.txt}", files={"gone.txt": error})
    assert said(plan) == ["gone.txt: /x/gone.txt cannot be read (No such file or directory). Check the path."]


@pytest.mark.parametrize(
    ("other", "is_said"), [("calibration.txt", True), ("copy.txt", True), ("held-out.txt", False)]
)
def test_an_imatrix_of_the_text_it_is_judged_on_is_a_warning(other: str, is_said: bool) -> None:
    text = f"model: org/tiny\nimatrix: {{text: calibration.txt}}\nquality: {{text: {other}}}\n"
    plan = plan_of(text, files={"held-out.txt": FileFacts(10_000_000, "cd" * 32)})
    assert bool([line for line in said(plan, "warn") if "judged on" in line]) is is_said


def test_sizes_and_time_are_in_the_summary() -> None:
    rows = summary(
        "model: org/tiny\ntypes: [Q8_0, Q4_K_M]",
        answers=answers(Q8_0=sized(3_676_896), Q4_K_M=sized(2_192_608)),
    )
    assert rows["types"] == "Q8_0 3.7 MB (4.50 bits), Q4_K_M 2.2 MB (4.50 bits)"
    assert "org/tiny" in rows["model"] and "LlamaForCausalLM" in rows["model"]
    assert rows["time"].startswith("about ") and "on 4 cores" in rows["time"]
    assert rows["tokenizer"] == "llama, pre-tokenizer default"


def big(parameters: int) -> dict[str, object]:
    shape = (parameters // 1000, 1000)
    tensors = {"w": Tensor(shape, "BF16", 2 * math.prod(shape), "model.safetensors")}
    files = {"model.safetensors": 2 * parameters, "config.json": 1, "tokenizer.json": 1}
    return {"models": {"org/tiny": model(tensors=tensors, files=files)}}


def test_without_llama_cpp_s_word_sizes_follow_from_bits_per_weight() -> None:
    rows = summary("model: org/tiny\ntypes: [Q8_0, F16]", **big(1_000_000_000))
    assert rows["types"] == "Q8_0 1.1 GB, F16 2.0 GB"


def test_more_types_take_longer_and_more_cores_less() -> None:
    one = plan_of(Q8, **big(7_000_000_000))
    six = plan_of("model: org/tiny", **big(7_000_000_000))
    assert dict(one.summary)["time"] != dict(six.summary)["time"]


def test_the_disk_holds_the_converted_model_beside_the_types() -> None:
    sizes = answers(Q8_0=sized(1_100_000_000), Q4_K_M=sized(600_000_000), Q2_K=sized(400_000_000))
    text = "model: org/tiny\ntypes: [Q8_0, Q4_K_M, Q2_K]\n"
    kept = plan_of(text, answers=sizes, **big(1_000_000_000)).estimate
    assert kept.write == 2_100_000_000
    assert 2_000_000_000 <= kept.scratch <= 2_050_000_000
    gone = plan_of(f"{text}keep_local: false", answers=sizes, **big(1_000_000_000)).estimate
    assert gone.write == 2_100_000_000  # two wait for the Hub while two are made
    assert gone.scratch == kept.scratch


def test_quality_needs_disk_for_the_original_s_probabilities_and_memory_for_logits() -> None:
    plain = plan_of("model: org/tiny", **big(1_000_000_000)).estimate
    measured = plan_of("model: org/tiny\nquality: {text: t.txt, chunks: 50}", **big(1_000_000_000)).estimate
    assert measured.scratch > plain.scratch
    more = plan_of("model: org/tiny\nquality: {text: t.txt, chunks: 500}", **big(1_000_000_000)).estimate
    assert more.scratch > measured.scratch


def test_an_adapter_needs_no_converted_model() -> None:
    assert plan_of(f"{LORA}base: org/tiny", **WITH_LORA).estimate.scratch == 0


MATCHED = {"name": "gpt-2", "how": "matched", "candidates": ["gpt-2", "olmo"], "matches": True}


def test_a_pre_tokenizer_that_was_found_by_trial_is_said() -> None:
    plan = plan_of(Q8, answers=answers(MATCHED))
    [line] = said(plan, "warn")
    assert "gpt-2 gives the same token ids" in line and "of 2 that split all test texts alike" in line
    assert plan.settings["pre_tokenizer"]["name"] == "gpt-2"
    assert "pre-tokenizer gpt-2" in dict(plan.summary)["tokenizer"]


@pytest.mark.parametrize(("matches", "warnings"), [(True, 0), (False, 1)])
def test_a_pre_tokenizer_that_was_given_is_judged(matches: bool, warnings: int) -> None:
    given = {"name": "llama-bpe", "how": "given", "candidates": [], "matches": matches}
    plan = plan_of(f"{Q8}pre_tokenizer: llama-bpe", answers=answers(given))
    assert len(said(plan, "warn")) == warnings
    assert plan.exit_code == 0


@pytest.mark.parametrize("error", [PlanError, MissingError])
def test_an_answer_that_is_an_error_is_a_refusal(error: type[PlanError]) -> None:
    plan = plan_of(Q8, answers=error("No pre-tokenizer fits.", "Set pre_tokenizer."))
    assert said(plan) == ["org/tiny: No pre-tokenizer fits. Set pre_tokenizer."]
    assert plan.exit_code == error.exit_code


def test_nothing_is_asked_about_what_is_refused_anyway() -> None:
    read = config(Q8)
    assert questions(read, facts_of(read, models={"org/tiny": PlanError("Gone.", "Look.")})) is None
    assert questions(read, facts_of(read, models={"org/tiny": PICKLED})) is None
    assert questions(read, facts_of(read, models={"org/tiny": model(files={"model.safetensors": 1})})) is None
    asked = questions(read, facts_of(read))
    assert asked is not None and set(asked["tensors"]) == set(model().tensors)


def settings_of(text: str) -> dict[str, object]:
    return dict(plan_of(text).settings)


@pytest.mark.parametrize(
    "later",
    [
        "hub: {repo: me/tiny-GGUF}",
        "card: {license: mit}",
        "card: {tags: [x]}",
        "keep_local: false",
        "quality: {text: t.txt}",
    ],
)
def test_what_is_decided_does_not_depend_on_what_changes_no_file(later: str) -> None:
    """Else a finished result would be taken for another run's when it is published or measured later."""
    assert settings_of(f"{Q8}{later}") == settings_of(Q8)


def test_what_is_asked_does_not_depend_on_where_the_result_goes() -> None:
    plain, pushed = config(Q8), config(f"{Q8}hub: {{repo: me/tiny-GGUF}}")
    assert questions(plain, facts_of(plain)) == questions(pushed, facts_of(pushed))


def test_no_folder_of_this_machine_is_in_the_settings_that_are_published(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = str(tmp_path / "base")
    plan = plan_of(f"{LORA}base: {base}", models={"org/lora": adapter(), base: model()})
    assert str(tmp_path) not in repr(plan.settings)


def test_the_pieces_say_what_must_be_there() -> None:
    text = "model: org/tiny\ntypes: [Q8_0, Q4_K_M]\nquality: {text: t.txt}\n"
    types, quality = plan_of(text).pieces[:-1], plan_of(text).pieces[-1]
    assert types == ("Q8_0", "Q4_K_M")
    others = [
        plan_of(text, files={"t.txt": FileFacts(10_000_000, "cd" * 32)}),
        plan_of(text.replace("{text: t.txt}", "{text: t.txt, chunks: 3}")),
        plan_of(text.replace(", Q4_K_M", "")),
    ]
    assert len({quality, *(plan.pieces[-1] for plan in others)}) == 4
    assert plan_of(text.replace("Q8_0, Q4_K_M", "Q4_K_M, Q8_0")).pieces[-1] == quality


def test_the_metadata_names_the_model_that_is_quantized() -> None:
    found = plan_of("model: org/tiny").labels["metadata"]
    assert found["name"] == "tiny" and found["author"] == "org" and found["license"] == "apache-2.0"
    assert found["base_models"] == [
        {"name": "tiny", "organization": "org", "repo_url": "https://huggingface.co/org/tiny"}
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("mein Modell ü", "mein-Modell-ü"),
        ("a+b@c", "a-b-c"),
        ("{x}", "x"),
        (".hidden", "hidden"),
        ("模型", "模型"),
    ],
)
def test_a_folder_s_name_becomes_a_file_s_name_that_shells_and_urls_take(
    folder: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    path = str(tmp_path / folder)
    read = Config(model=path)
    [ref] = read.models().values()
    facts = facts_of(read, models={path: model(ref=ref, hub_id=None, revision=None)})
    assert planner(read, facts).settings["file_name"] == f"{name}.{{type}}.gguf"


def quantized(label: str, stated: dict[str, object]) -> dict[str, object]:
    """Facts for `plan_of`: a model in this layout, which its config.json states so."""
    label = {"ModelOpt": "NVFP4"}.get(label, label)
    model = packed(label, quantization_config=stated) if stated else packed(label)
    return {"models": {"org/tiny": model}}


COMPRESSED = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
CHANNEL = {"group": {"weights": {"strategy": "channel", "num_bits": 8, "type": "float"}}}
GROUP = {"group": {"weights": {"strategy": "group", "num_bits": 4, "type": "int", "group_size": 4}}}
READ = [
    ("block FP8", {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    ("GPTQ", {"quant_method": "gptq", "bits": 4}),
    ("compressed-tensors", COMPRESSED | {"config_groups": GROUP}),
]
NOT_READ = [
    ("bitsandbytes 4-bit", {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    ("AWQ", {"quant_method": "awq", "bits": 4}),
    ("GPTQ", {"quant_method": "gptq", "bits": 3}),
    ("GPTQ", {"quant_method": "gptq", "bits": 4, "dynamic": {"+:.*down.*": {"bits": 8}}}),
    ("compressed-tensors", COMPRESSED | {"config_groups": CHANNEL}),
    ("block FP8", {}),
    ("FP8", {"quant_method": "fp8"}),
    ("MXFP4", {"quant_method": "mxfp4"}),
    ("ModelOpt", {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
]


@pytest.mark.parametrize(("label", "stated"), READ)
def test_layouts_that_the_converter_reads_are_taken(label: str, stated: dict[str, object]) -> None:
    plan = plan_of(Q8, **quantized(label, stated))
    assert said(plan) == []
    assert any(f"is quantized already ({label})" in line for line in said(plan, "warn"))


@pytest.mark.parametrize(("label", "stated"), NOT_READ)
def test_layouts_that_the_converter_does_not_read_are_refused(label: str, stated: dict[str, object]) -> None:
    plan = plan_of(Q8, **quantized(label, stated))
    [line] = said(plan)
    assert f"org/tiny is quantized ({label})" in line and "Give the model it was made from" in line
    assert plan.exit_code == 4


def test_quantized_base_of_an_adapter_is_refused_where_the_converter_stumbles_over_it() -> None:
    base = packed("bitsandbytes 4-bit", "org/base", quantization_config={"load_in_4bit": True})
    plan = plan_of(f"{LORA}base: org/base\n", models={"org/lora": adapter(), "org/base": base})
    assert any("org/base is quantized (bitsandbytes 4-bit)" in line for line in said(plan))


def test_fallbacks_and_types_that_others_beat_are_told() -> None:
    fallbacks = {"Q2_K → Q4_0": 120, "Q3_K → Q4_0": 60}
    types = {
        "Q2_K": sized(88) | {"bits_per_weight": 5.14, "fallbacks": fallbacks},
        "IQ3_XXS": sized(80, wants_imatrix=True),
        "Q6_K": sized(144),
        "Q8_0": sized(144),
    }
    plan = plan_of("model: org/tiny\nimatrix: {text: a.txt}\ntypes: [Q2_K, IQ3_XXS, Q6_K, Q8_0]",
                   answers=answers(**types) | {"n_tensors": 272})  # fmt: skip
    told = [line for line in said(plan, "warn") if line.startswith("types")]
    assert told == [
        "types: Q2_K: llama.cpp takes a larger type for 180 of 272 tensors (120 Q2_K → Q4_0, "
        "60 Q3_K → Q4_0), whose rows do not fit; 5.14 bits per weight in all.",
        "types: Q2_K will be larger than IQ3_XXS, which is better. Leave it out.",
        "types: Q6_K will be as large as Q8_0, which is better. Leave it out.",
    ]


def test_what_is_published_quantized_stays_so_and_the_plan_says_it() -> None:
    kept = sized(100) | {"kept": {"MXFP4": 72}}
    plan = plan_of("model: org/tiny\ntypes: [Q8_0]", answers=answers(Q8_0=kept) | {"n_tensors": 459})
    [told] = [line for line in said(plan, "warn") if line.startswith("types")]
    assert told.startswith("types: 72 of 459 tensors are MXFP4, as the model was published, and stay so")


@pytest.mark.parametrize("text", ["types: [Q4_K_L]", "tensor_types: {attn_v: Q9}"])
def test_a_type_that_does_not_exist_is_the_config_s_fault(text: str) -> None:
    assert plan_of(f"model: org/tiny\n{text}").exit_code == 2


def test_every_step_that_takes_long_is_in_the_time() -> None:
    config = "model: org/tiny\ntypes: [Q8_0, Q4_K_M]\nimatrix: {text: a.txt}\nquality: b.txt"
    # Seconds of one core for 1,000 tokens and 10⁹ parameters; the tiny model has 2.1 M of them.
    rates = {"imatrix": 1e6, "original": 2e6, "compare": 5e5, "Q8_0": 0.0, "Q4_K_M": 0.0}
    time = summary(config, rates=rates)["time"]
    assert re.fullmatch(r"about .+ on 4 cores: .+ convert and quantize \+ (.+) imatrix \+ (.+) quality", time)
    alone = summary("model: org/tiny\ntypes: [Q8_0]", rates=rates)["time"]
    assert alone.startswith("about ") and alone.endswith(" convert and quantize")


def test_a_projector_is_a_piece_of_its_own() -> None:
    plan = plan_of("model: org/tiny\ntypes: [Q8_0]\nmmproj: true",
                   answers=answers(Q8_0=sized(1000)) | {"projector_bytes": 5000})  # fmt: skip
    assert plan.pieces == ("Q8_0", "mmproj") and plan.estimate.write == 6000
    assert dict(plan.summary)["projector"] == "mmproj-tiny.gguf, 5.0 kB"
