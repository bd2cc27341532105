"""The cards: what the Hub reads in their heads, and what people read below."""

from dataclasses import replace
from typing import Any

import yaml

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.card import render
from llmcourse.quantize_exl2.card import card
from tests.quantize_exl2.builders import USUAL, config, facts_of, model, plan_of

REPO = "me/tiny-exl2"
QUALITY = {"perplexity": 20.5, "mean_kld": 0.0123, "same_top": 0.91, "base_perplexity": 20.0, "chunks": 3,
           "context": 512}  # fmt: skip


def artifact(text: str, *more: OutputFile) -> Artifact:
    files = [OutputFile("measurement.json", 100, "a" * 64, piece="measurement")]
    for bits in config(text).bits_per_weight:
        about = {"bits_per_weight": bits, "head_bits": 6, "calibration_perplexity": 12.345}
        files.append(
            OutputFile(f"{bits}bpw/output.safetensors", int(bits * 10**9), "b" * 64, {}, f"{bits}bpw", about)
        )
    settings = plan_of(text).settings
    return Artifact("quantize-exl2", "out", "f" * 64, (*files, *more), {}, {"llmcourse": "0.1"}, {}, settings)


def cards(text: str = USUAL, repo: str | None = REPO, *more: OutputFile, **changes: Any) -> dict[str, str]:
    """All cards by their path."""
    read = config(text)
    facts = facts_of(read, models={"org/tiny": replace(model(), **changes)})
    made = card(read, facts, artifact(text, *more), repo)
    return {"README.md": render(made, "llmcourse.quantize_exl2"), **made.files}


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_each_card_says_what_it_was_made_from() -> None:
    made = cards()
    assert set(made) == {"README.md", "3.0bpw/README.md", "4.25bpw/README.md"}
    for text in made.values():
        assert head(text)["base_model"] == ["org/tiny"] and head(text)["base_model_relation"] == "quantized"
        assert head(text)["license"] == "apache-2.0" and head(text)["tags"] == ["exl2"]
        assert head(text)["library_name"] == "exllamav2" and head(text)["pipeline_tag"] == "text-generation"
        assert "exllamav2 0.3.2" in text and "the set that exllamav2 brings" in text


def test_the_card_on_main_lists_branches_with_bits_and_sizes() -> None:
    text = cards()["README.md"]
    row = "| [4.25bpw](https://huggingface.co/me/tiny-exl2/tree/4.25bpw) | 4.25 | 6 | 4.2 GB | 12.35 |"
    assert row in text or row.replace("12.35", "12.34") in text
    assert "hf download me/tiny-exl2 --revision 4.25bpw" in text and "](measurement.json)" in text
    assert "\n\n\n\n" not in text


def test_the_card_of_a_branch_stays_when_others_come() -> None:
    assert cards()["3.0bpw/README.md"] == cards("{model: org/tiny, bits_per_weight: 3.0}")["3.0bpw/README.md"]
    text = cards()["3.0bpw/README.md"]
    assert "4.25" not in text and "https://huggingface.co/me/tiny-exl2/blob/main/measurement.json" in text


def test_repositories_are_linked_both_ways() -> None:
    made = cards("{model: org/tiny, bits_per_weight: 3.0, hub: {repo: me/tiny-exl2, layout: repos}}")
    assert "[3.0bpw](https://huggingface.co/me/tiny-3.0bpw-exl2)" in made["README.md"]
    assert "# tiny-3.0bpw-exl2" in made["3.0bpw/README.md"]
    assert "in [me/tiny-exl2](https://huggingface.co/me/tiny-exl2)" in made["3.0bpw/README.md"]


def test_without_a_repository_the_card_is_of_folders() -> None:
    made = cards(USUAL, None)
    assert "[3.0bpw](3.0bpw)" in made["README.md"] and "hf download" not in "".join(made.values())


def test_what_was_measured_is_a_column_and_what_it_is_of_is_said() -> None:
    about = {"text": "held-out.txt", "results": {"3.0bpw": QUALITY}}
    measured = OutputFile("quality.json", 10, "c" * 64, {}, "quality:abc", about)
    text = cards(USUAL, REPO, measured)["README.md"]
    assert "20.5000 | 1.23e-02 | 91.00%" in text and "3 windows of\n512 tokens of `held-out.txt`" in text


def test_calibration_is_named_with_its_revision_and_nothing_of_this_machine() -> None:
    text = cards("{model: org/tiny, bits_per_weight: 3, calibration: {dataset: allenai/c4}}")["README.md"]
    assert "(https://huggingface.co/datasets/allenai/c4), en at dddddddd, 100 rows of 2048 tokens" in text
    text = cards("{model: org/tiny, bits_per_weight: 3, calibration: {text: /home/me/a.txt}}")["README.md"]
    assert "`a.txt` (sha256 abababababab…), 100 rows" in text and "/home" not in text


def test_a_licence_that_is_not_known_is_said() -> None:
    text = cards(card={})["README.md"]
    assert "**Licence:**" in text and head(text).get("license") in (None, "other", "unknown")


def test_a_measurement_alone_has_a_card_too() -> None:
    read = config()
    files = (OutputFile("measurement.json", 100, "a" * 64, piece="measurement"),)
    only = Artifact("quantize-exl2", "out", "f" * 64, files, {}, {}, {}, plan_of().settings)
    made = card(read, facts_of(read), only, REPO)
    text = render(made, "llmcourse.quantize_exl2")
    assert made.files == {} and "None is made yet" in text and "## Load it" not in text


def test_no_loader_is_named_that_nobody_tried_on_the_result() -> None:
    for text in cards().values():
        assert "TabbyAPI" not in text and "webui" not in text and "ExLlamaV2Config(" in text
    assert "They were not loaded again after they were made." in cards()["README.md"]


def test_a_chat_model_is_asked_through_its_template_with_a_cache_that_fits() -> None:
    plain = cards(config={**model().config, "max_position_embeddings": 131072})["README.md"]
    assert "max_seq_len=8192" in plain and "the model's context is 131,072" in plain
    assert "apply_chat_template" not in plain and "encode_special_tokens=False" in plain
    about = {"bits_per_weight": 4.25, "head_bits": 6, "is_chat": True}
    file = OutputFile("4.25bpw/tokenizer.json", 1, "c" * 64, {}, "4.25bpw", about)
    chat = cards(USUAL, REPO, file)["README.md"]
    assert "apply_chat_template(" in chat and "encode_special_tokens=True" in chat
    code = chat.split("```python\n")[1].split("```")[0]
    compile(code, "the card", "exec")


def test_the_seed_of_a_data_set_is_told() -> None:
    text = "{model: org/tiny, bits_per_weight: 4.0, calibration: {dataset: org/texts, seed: 7}}"
    assert ", seed 7." in cards(text)["README.md"]
