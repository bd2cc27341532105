"""The card of a GPTQ checkpoint, from hand-made facts and records."""

from typing import Any

import yaml

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.card import render
from llmcourse.core.plan import Facts
from llmcourse.quantize_gptq.card import card
from tests.planner_facts import LAPTOP
from tests.quantize_gptq.builders import config, model

FIGURES = {
    "text": "held.txt", "chunks": 8, "context": 512, "base_perplexity": 47.0, "perplexity": 47.5,
    "mean_kld": 2.1e-4, "kld_99": 1e-3, "same_top": 0.977,
}  # fmt: skip
CALIBRATION = {
    "dataset": "allenai/c4", "name": "en", "split": "train", "revision": "e" * 40, "samples": 128,
    "length": 2048, "seed": 0,
}  # fmt: skip


READS = {"gptqmodel": "", "transformers": ""}
VERSIONS = {"gptqmodel": "7.6.0", "transformers": "5.23.0", "optimum": "2.3.0"}


def card_of(
    text: str,
    repo: str | None = "me/tiny-GPTQ",
    quality: bool = True,
    tried: dict[str, Any] | None = None,
    **changes: Any,
) -> str:
    read = config(text)
    facts = Facts(LAPTOP, {name: model(name, **changes) for name in read.models()})
    about = {"sample": "Once upon", "problems": READS, "is_chat": False} if tried is None else tried
    files = [OutputFile("model.safetensors", 3_000_000, "a" * 64, about=about)]
    files += [OutputFile("layers.png", 10, "b" * 64)]
    files += [OutputFile("quality.json", 10, "c" * 64, about=FIGURES)] if quality else []
    details = {"calibration": CALIBRATION}
    made = Artifact("quantize-gptq", ".", "f" * 64, tuple(files), {}, VERSIONS, {}, details)
    return render(card(read, facts, made, repo), "llmcourse.quantize_gptq")


def head_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return found


def test_the_base_model_is_the_one_that_was_quantized() -> None:
    head = head_of(card_of("model: org/tiny"))
    assert (head["base_model"], head["base_model_relation"]) == (["org/tiny"], "quantized")
    assert {"gptq", "4-bit", "gptqmodel"} <= set(head["tags"]) and head["license"] == "apache-2.0"


def test_a_folder_is_named_without_the_way_to_it() -> None:
    text = card_of("model: org/tiny", repo=None, hub_id=None)
    assert (
        "base_model" not in head_of(text) and "# tiny-GPTQ-4bit" in text and 'GPTQModel.load("PATH")' in text
    )


def test_figures_plot_and_calibration_are_told() -> None:
    text = card_of("model: org/tiny")
    assert "| Mean KL divergence | 0 | 2.10e-04 |" in text and "97.70 %" in text
    assert "![Squared error of each module, layer by layer](layers.png)" in text
    assert "128 windows of 2048 tokens, seed 0, of [allenai/c4]" in text and "commit eeeeeeeeeeee" in text


def test_without_a_measurement_there_are_no_figures() -> None:
    assert "Perplexity" not in card_of("model: org/tiny", quality=False)


def test_every_loader_that_read_the_files_is_named_and_no_other() -> None:
    both = card_of("model: org/tiny")
    assert 'AutoModelForCausalLM.from_pretrained("me/tiny-GPTQ"' in both and "optimum==2.3.0" in both
    assert "GPTQModel.load" in both and "vllm" not in both.lower()
    problems = {"gptqmodel": "", "transformers": "it fills 4 tensors with random numbers"}
    one = card_of("model: org/tiny", tried={"sample": "", "problems": problems, "is_chat": False})
    assert "GPTQModel.load" in one and "AutoModelForCausalLM" not in one
    assert "transformers 5.23.0 does **not** read them as they are: it fills 4 tensors with random" in one


def test_what_was_not_tried_names_no_loader() -> None:
    assert "from_pretrained" not in card_of("{model: org/tiny, dry_run: mock}", tried={})
    assert "GPTQModel.load" not in card_of("{model: org/tiny, dry_run: mock}", tried={})


def test_a_chat_model_is_asked_through_its_template() -> None:
    plain = card_of("model: org/tiny")
    chat = card_of("model: org/tiny", tried={"sample": "", "problems": READS, "is_chat": True})
    assert plain.count("apply_chat_template") == 0 and chat.count("apply_chat_template") == 2
    assert all(text.count("model.generate(**inputs, max_new_tokens=256)") == 2 for text in (plain, chat))


def test_settings_fit_the_method() -> None:
    assert "desc_act" not in card_of("{model: org/tiny, method: awq}")
    assert head_of(card_of("{model: org/tiny, method: awq}"))["tags"][0] == "awq"


def test_modules_of_their_own_are_listed_and_a_bar_does_not_break_the_table() -> None:
    text = card_of("{model: org/tiny, modules: {'v_proj|down_proj': {bits: 8}, lm: false}}")
    assert "| `v_proj\\|down_proj` | bits 8 |" in text and "| `lm` | not quantized |" in text


def test_a_licence_of_the_config_is_taken() -> None:
    assert head_of(card_of("{model: org/tiny, card: {license: mit}}"))["license"] == "mit"
