"""The model card of GGUF files: what is in the table, whose model it is, and what it does not tell."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard
from rich.console import Console

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.card import render
from llmcourse.core.model import ModelRef
from llmcourse.core.plan import FileFacts
from llmcourse.quantize_gguf.card import card, shown
from llmcourse.testing.hub import LoopbackHub
from tests.quantize_gguf.builders import adapter, config, facts_of, model

FIGURES = {
    "perplexity": 12.34567, "perplexity_error": 0.1, "mean_kld": 0.012345, "mean_kld_error": 0.001,
    "kld_99": 0.2, "max_kld": 3.0, "same_top": 0.9123, "base_perplexity": 12.0, "chunks": 50,
    "context": 512, "tokens": 12800, "key": "abababababab-50", "text": "held-out.txt",
}  # fmt: skip


def made(name: str, size: int = 4_000_000_000, shards: int = 1, **about: Any) -> list[OutputFile]:
    """The files of a type."""
    told = {
        "type": name,
        "bits_per_weight": 4.851,
        "seconds": 3.0,
        "sample": "The meaning of life is",
    } | about
    names = [f"tiny.{name}.gguf"]
    if shards > 1:
        names = [f"tiny.{name}-{index + 1:05}-of-{shards:05}.gguf" for index in range(shards)]
    return [
        OutputFile(path, size // shards, "ab" * 32, piece=name, about=told, files_in_piece=len(names))
        for path in names
    ]


def artifact(*files: OutputFile, **details: Any) -> Artifact:
    versions = {"llmcourse": "0.1.0", "llama_cpp": "0.3.36"}
    return Artifact("quantize-gguf", "/home/me/secret/out", "f", files, {}, versions, {}, details)


@dataclass(frozen=True)
class Read:
    """A card as the Hub's own client reads it."""

    data: dict[str, Any]
    text: str

    @property
    def rows(self) -> dict[str, list[str]]:
        """Cells of the table of files by type."""
        rows = [line.strip("|").split("|") for line in self.text.splitlines() if line.startswith("| [")]
        return {cells[1].strip(): [cell.strip() for cell in cells] for cells in rows}


def text_of(text: str, *files: OutputFile, repo: str | None = "me/tiny-GGUF", **more: Any) -> str:
    read, details = config(text), more.pop("details", {})
    return render(
        card(read, facts_of(read, **more), artifact(*files, **details), repo), "llmcourse.quantize_gguf"
    )


def read(text: str, *files: OutputFile, **more: Any) -> Read:
    found = ModelCard(text_of(text, *files, **more))
    return Read(found.data.to_dict(), found.text)  # type: ignore[no-untyped-call]


BOTH = (*made("Q8_0", 8_000_000_000), *made("Q4_K_M"))
TINY = "model: org/tiny\ntypes: [Q8_0, Q4_K_M]\n"


def test_the_head_says_whose_model_it_is_and_what_was_done() -> None:
    assert read(TINY, *BOTH).data == {
        "license": "apache-2.0",
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "base_model": ["org/tiny"],
        "base_model_relation": "quantized",
        "tags": ["gguf", "llama.cpp", "autoquant"],
    }


def test_the_base_is_the_model_that_was_quantized_and_not_its_parents() -> None:
    merged = model(card={"license": "mit", "base_model": ["org/father", "org/mother"], "tags": ["merge"]})
    data = read(TINY, *BOTH, models={"org/tiny": merged}).data
    assert (data["base_model"], data["base_model_relation"]) == (["org/tiny"], "quantized")
    assert "merge" not in data["tags"]


def test_language_and_task_are_the_model_s() -> None:
    other = model(card={"license": "mit", "language": "de", "pipeline_tag": "text2text-generation"})
    data = read(TINY, *BOTH, models={"org/tiny": other}).data
    assert (data["language"], data["pipeline_tag"], data["license"]) == (
        ["de"],
        "text2text-generation",
        "mit",
    )


def test_tags_of_the_config_are_added_and_an_imatrix_is_one() -> None:
    data = read(f"{TINY}imatrix: ready.dat\ncard: {{tags: [mine, gguf]}}", *BOTH).data
    assert data["tags"] == ["gguf", "llama.cpp", "autoquant", "imatrix", "mine"]


def test_a_local_model_without_a_hub_id_names_no_base_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    name = str(tmp_path / "my model")
    local = model(ref=ModelRef.parse(name), hub_id=None, revision=None)
    found = read(f"model: '{name}'", *BOTH, models={name: local}, repo=None)
    assert "base_model" not in found.data and "base_model_relation" not in found.data
    assert str(tmp_path) not in found.text and "my-model as GGUF" in found.text
    assert "-hf" not in found.text and "ollama run" not in found.text


def test_the_table_goes_from_the_smallest_to_the_largest() -> None:
    rows = read(TINY, *BOTH).rows
    assert list(rows) == ["Q4_K_M", "Q8_0"]
    file, name, size, bits, memory, advice = rows["Q4_K_M"]
    assert file == "[tiny.Q4_K_M.gguf](tiny.Q4_K_M.gguf)"
    assert (name, size, bits, memory) == ("Q4_K_M", "4.0 GB", "4.85", "4.7 GB")
    assert "the usual choice" in advice


def test_files_that_are_split_are_one_row_with_their_whole_size() -> None:
    found = read(TINY, *made("Q8_0", 9_000_000_000, shards=3))
    assert found.rows["Q8_0"][0].endswith("(tiny.Q8_0-00001-of-00003.gguf) and 2 more")
    assert found.rows["Q8_0"][2] == "9.0 GB"
    assert 'additional_files=["tiny.Q8_0*"]' in found.text


def test_files_that_are_no_type_are_in_no_row() -> None:
    others = [
        OutputFile("imatrix.gguf", 5, "ab", piece="imatrix"),
        OutputFile("quality.json", 5, "ab", piece="quality 1"),
    ]
    assert list(read(TINY, *BOTH, *others).rows) == ["Q4_K_M", "Q8_0"]


def test_a_type_that_this_card_has_no_word_for_is_a_row_all_the_same() -> None:
    assert read("model: org/tiny\ntypes: [Q9_X]", *made("Q9_X")).rows["Q9_X"][1] == "Q9_X"


QUALITY = f"{TINY}quality: {{text: /home/me/texts/held-out.txt, chunks: 50}}\n"


def measured() -> list[OutputFile]:
    better = FIGURES | {"mean_kld": 0.0004, "same_top": 0.991}
    plot = OutputFile("quality.png", 5, "ab", piece="quality 12ab34cd")
    return [*made("Q8_0", 8_000_000_000, quality=better), *made("Q4_K_M", quality=FIGURES), plot]


def test_what_each_type_costs_stands_beside_it_and_in_a_plot() -> None:
    found = read(QUALITY, *measured())
    assert found.rows["Q4_K_M"][5:9] == ["12.3457", "1.23e-02", "2.00e-01", "91.23%"]
    assert found.rows["Q8_0"][6] == "4.00e-04"
    assert "(quality.png)" in found.text and "quality.json" in found.text
    assert "perplexity of 12.0000" in found.text and "50 windows of" in found.text
    assert "`held-out.txt`" in found.text and "/home/me" not in found.text
    header, rule = (
        line.count("|") for line in found.text.splitlines() if line.startswith(("| File", "|---"))
    )
    assert header == rule == len(found.rows["Q8_0"]) + 1


def test_a_type_that_is_not_measured_has_empty_cells() -> None:
    found = read(QUALITY, *measured(), *made("Q2_K", 1_000_000_000))
    assert found.rows["Q2_K"][5:9] == ["", "", "", ""]
    assert len(found.rows["Q2_K"]) == len(found.rows["Q8_0"])


def test_figures_that_are_there_are_shown_when_a_later_run_measures_nothing() -> None:
    found = read(TINY, *measured())
    assert found.rows["Q4_K_M"][5] == "12.3457"


def test_figures_of_another_text_are_not_shown_beside_these() -> None:
    """Types that an earlier run measured on another text or less of it."""
    older = FIGURES | {"key": "older", "base_perplexity": 99.0, "perplexity": 101.0}
    found = read(QUALITY, *measured(), *made("Q2_K", 1_000_000_000, quality=older))
    assert found.rows["Q2_K"][5:9] == ["", "", "", ""]
    assert "perplexity of 12.0000" in found.text


def test_an_imatrix_says_what_it_was_made_of_and_no_folder() -> None:
    made_of = OutputFile("imatrix.gguf", 5, "ab" * 32, piece="imatrix", about={"chunks": 100})
    text = f"{TINY}imatrix: {{text: /home/me/texts/calibration.txt, chunks: 100}}"
    found = read(text, *BOTH, made_of, files={"/home/me/texts/calibration.txt": FileFacts(10**7, "cd" * 32)})
    assert "Measured over 100 windows of 512 tokens of `calibration.txt` (sha256 cdcdcdcdcdcd…)" in found.text
    assert "imatrix.gguf" in found.text and "/home/me" not in found.text


def test_an_imatrix_of_less_text_than_was_allowed_says_how_much_it_was() -> None:
    """`chunks` is the most; the text gave fewer."""
    made_of = OutputFile("imatrix.gguf", 5, "ab" * 32, piece="imatrix", about={"chunks": 61})
    found = read(f"{TINY}imatrix: {{text: calibration.txt, chunks: 100}}", *BOTH, made_of)
    assert "Measured over 61 windows" in found.text


def test_experts_that_no_text_reached_are_named() -> None:
    about = {"chunks": 100, "never_chosen": {"blk.0.ffn_up_exps.weight": [1, 3]}}
    made_of = OutputFile("imatrix.gguf", 5, "ab" * 32, piece="imatrix", about=about)
    found = read(f"{TINY}imatrix: {{text: calibration.txt, chunks: 100}}", *BOTH, made_of)
    assert "blk.0.ffn_up_exps.weight" in found.text


def test_tensors_that_were_quantized_without_weights_are_named() -> None:
    """A ready imatrix that lacks a layer of a passthrough merge."""
    files = made("Q4_K_M", unweighted=["blk.9.attn_q.weight"], pinned=["blk.8.attn_q.weight"])
    found = read("model: org/tiny\ntypes: [Q4_K_M]\nimatrix: ready.dat", *files)
    assert "blk.9.attn_q.weight" in found.text and "blk.8.attn_q.weight" in found.text


def test_a_ready_imatrix_is_named() -> None:
    found = read(f"{TINY}imatrix: /home/me/ready.dat", *BOTH)
    assert "Taken from `ready.dat` (sha256 abababababab…)" in found.text and "/home/me" not in found.text


def test_types_of_single_tensors_are_listed() -> None:
    assert (
        "`attn_v` Q8_0, `ffn_down` Q6_K."
        in read(f"{TINY}tensor_types: {{attn_v: Q8_0, ffn_down: Q6_K}}", *BOTH).text
    )


@pytest.mark.parametrize(
    ("how", "word"),
    [("matched", "gives the same"), ("given", "was set by hand"), ("none", None), ("known", None)],
)
def test_how_the_pre_tokenizer_was_found_is_said(how: str, word: str | None) -> None:
    pre_tokenizer = {"name": "gpt-2", "how": how, "candidates": ["gpt-2"], "matches": True}
    text = read(TINY, *BOTH, details={"pre_tokenizer": pre_tokenizer}).text
    assert ("pre-tokenizer `gpt-2`" in text) == (word is not None)
    assert word is None or word in text


@pytest.mark.parametrize(
    ("card_of_model", "licence", "warned"),
    [
        ({"license": "apache-2.0"}, "apache-2.0", False),
        ({}, "other", True),
        ({"license": "my-own"}, "other", True),
    ],
)
def test_a_licence_that_is_unclear_is_other_and_is_said(
    card_of_model: dict[str, str], licence: str, warned: bool
) -> None:
    found = read(TINY, *BOTH, models={"org/tiny": model(card=card_of_model)})
    assert found.data["license"] == licence
    assert ("> **Licence:**" in found.text) == warned


def test_a_licence_of_the_config_is_taken() -> None:
    found = read(f"{TINY}card: {{license: mit}}", *BOTH, models={"org/tiny": model(card={})})
    assert found.data["license"] == "mit" and "Licence:" not in found.text


CHAT = {"has_chat_template": True, "context_length": 131072}


def test_how_to_run_it_names_the_repository_and_the_usual_type() -> None:
    text = read(TINY, *BOTH, answers=CHAT).text
    commands = ("llama-cli -hf ", "llama-server -hf ", "ollama run hf.co/")
    assert all(f"{command}me/tiny-GGUF:Q4_K_M\n" in text for command in commands)
    assert "lms get https://huggingface.co/me/tiny-GGUF" in text
    assert 'Llama.from_pretrained("me/tiny-GGUF", filename="tiny.Q4_K_M.gguf"' in text


def test_an_adapter_is_an_adapter() -> None:
    files = (OutputFile("lora.F16.gguf", 5_000_000, "ab", piece="F16", about={"type": "F16"}),)
    found = read(
        "model: org/lora\nbase: org/tiny", *files, models={"org/lora": adapter()}, repo="me/lora-GGUF"
    )
    assert "llama-cli -m BASE.gguf --lora lora.F16.gguf" in found.text
    assert "| [lora.F16.gguf](lora.F16.gguf) | F16 | 5.0 MB |" in found.text
    assert "--lora" in found.text and "bits per weight" not in found.text.lower()


@pytest.mark.parametrize("text", [TINY, QUALITY, f"{TINY}imatrix: ready.dat"])
def test_the_same_facts_give_the_same_card_without_gaps(text: str) -> None:
    files = measured() if text == QUALITY else BOTH
    first = text_of(text, *files)
    assert first == text_of(text, *files)
    assert "\n\n\n" not in first and "None" not in first


def test_the_hub_accepts_it(hub: LoopbackHub) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.tokens["alice"])
    api.create_repo("alice/tiny-GGUF")
    for text in (QUALITY, f"{QUALITY}imatrix: ready.dat\ncard: {{license: other}}"):
        content = text_of(text, *measured()).encode()
        api.upload_file(path_or_fileobj=content, path_in_repo="README.md", repo_id="alice/tiny-GGUF")
    assert b"base_model_relation: quantized" in hub.repo("alice/tiny-GGUF").read("README.md")


def test_a_chat_model_gets_chat_snippets_and_its_context() -> None:
    chat = read(TINY, *BOTH, answers=CHAT).text
    assert "llm.create_chat_completion(messages" in chat and "n_ctx=8192" in chat
    assert "made for up to 131,072." in chat and "-no-cnv" not in chat
    base = read(TINY, *BOTH, answers={"has_chat_template": False, "context_length": 2048}).text
    assert 'llm("A large language model is"' in base and "n_ctx=2048" in base and "create_chat" not in base
    assert '-no-cnv -p "A large language model is"' in base


def test_advice_comes_from_what_was_measured() -> None:
    def of(name: str, size: int, mean_kld: float) -> list[OutputFile]:
        return made(name, size, quality=FIGURES | {"mean_kld": mean_kld})

    files = [*of("IQ3_XXS", 80, 0.2), *of("Q2_K", 88, 0.4), *of("Q4_K_M", 105, 0.02), *of("Q8_0", 145, 0.001)]
    found = read("model: org/tiny", *files)
    advice = {name: cells[-1] for name, cells in found.rows.items()}
    assert advice == {
        "IQ3_XXS": "noticeable loss",
        "Q2_K": "no reason to take it: IQ3_XXS is smaller and nearer to the original",
        "Q4_K_M": "good quality",
        "Q8_0": "hard to tell from the original",
    }


def test_fallback_types_are_told_and_the_name_s_usual_advice_is_not() -> None:
    files = made("Q2_K", 88, fallbacks={"Q2_K → Q4_0": 120, "Q3_K → Q4_0": 60})
    found = read("model: org/tiny\ntypes: [Q2_K]", *files)
    assert "- Q2_K: 180 tensors (120 Q2_K → Q4_0, 60 Q3_K → Q4_0)" in found.text
    assert found.rows["Q2_K"][-1] == ""
    assert "a larger type for 180 tensors" in terminal(*files) and "Q2_K" in terminal(*files)


def test_the_terminal_shows_the_figures_of_each_type() -> None:
    lines = terminal(*made("Q8_0", 145_000_000, quality=FIGURES), *made("Q4_K_M", 105_000_000)).splitlines()
    (measured,) = (line for line in lines if "Q8_0" in line)
    assert [cell.strip() for cell in measured.strip("│").split("│")] == [
        "Q8_0", "145.0 MB", "4.85", "12.3457", "0.0123", "91.2%",
    ]  # fmt: skip


def test_a_projector_is_named_with_how_to_use_it() -> None:
    projector = OutputFile("mmproj-tiny.gguf", 5, "a", piece="mmproj", about={"projector": "BF16"})
    text = read(TINY, *BOTH, projector).text
    assert "[mmproj-tiny.gguf](mmproj-tiny.gguf) (BF16) is the projector" in text
    assert "--mmproj mmproj-tiny.gguf" in text and "| [mmproj" not in text


def terminal(*files: OutputFile) -> str:
    """What is printed above the result, on a terminal of 80 columns."""
    out = Console(width=80, file=io.StringIO())
    out.print(shown(artifact(*files)))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()
