"""The model card of a merge: parents are right for every kind of recipe.

The first group are the defects of LazyMergekit's cards, each by the recipe that showed it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from llmcourse.core.artifact import Artifact
from llmcourse.core.card import render
from llmcourse.core.model import ModelFacts, ModelRef
from llmcourse.merge.card import card
from tests.merge.builders import Models, adapter, config, facts, model

PAIR = """
models:
  - {model: org/a, parameters: {weight: 0.6}}
  - {model: org/b, parameters: {weight: 0.4}}
merge_method: linear
"""


def artifact(path: str = "/home/me/secret/merged") -> Artifact:
    return Artifact("merge", path, "f", (), {}, {"llmcourse": "0.1.0", "mergekit": "0.1.5"}, {})


def text_of(text: str, models: Models | None = None, repo: str | None = "me/merged") -> str:
    read = config(text)
    return render(card(read, facts(read, models), artifact(), repo), "llmcourse.merge")


@dataclass(frozen=True)
class Read:
    """A card as the Hub's own client reads it."""

    data: dict[str, Any]
    text: str


def as_the_hub_reads(card_text: str) -> Read:
    read = ModelCard(card_text)
    return Read(read.data.to_dict(), read.text)  # type: ignore[no-untyped-call]


def head_of(text: str, models: Models | None = None) -> Read:
    return as_the_hub_reads(text_of(text, models))


def table(text: str) -> list[tuple[str, ...]]:
    """Rows of the table of parents: model, part, parameters."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in row) for row in rows[1:]]


def link(name: str) -> str:
    return f"[{name}](https://huggingface.co/{name})"


def folder(path: str, **changes: object) -> ModelFacts:
    """A model that lies in a folder and came from nowhere."""
    local = replace(model(), ref=ModelRef(path, is_local=True), revision=None, hub_id=None)
    return replace(local, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "parents"),
    [
        pytest.param(
            "models: [{model: org/b}, {model: org/c}]\nmerge_method: model_stock\nbase_model: org/a",
            ["org/a", "org/b", "org/c"],
            id="model_stock without parameters",
        ),
        pytest.param(
            "slices:\n"
            "  - sources: [{model: org/a, layer_range: [0, 1]}]\n"
            "  - sources: [{model: org/b, layer_range: [0, 2]}]\n"
            "  - sources: [{model: org/a, layer_range: [1, 2]}]\n"
            "merge_method: passthrough",
            ["org/a", "org/b"],
            id="passthrough a-b-a",
        ),
        pytest.param(
            "slices:\n"
            "  - sources: [{model: org/a, layer_range: [0, 1]}, {model: org/b, layer_range: [0, 1]}]\n"
            "  - sources: [{model: org/a, layer_range: [1, 2]}, {model: org/c, layer_range: [1, 2]}]\n"
            "merge_method: slerp\nbase_model: org/a\nparameters: {t: 0.5}",
            ["org/a", "org/b", "org/c"],
            id="slerp of two slices with one t",
        ),
        pytest.param(
            "modules:\n"
            "  text_decoder: {models: [{model: org/a}, {model: org/b}]}\n"
            "  vision_tower: {slices: [{sources: [{model: org/c, layer_range: [0, 2]}]}]}\n"
            "merge_method: ties\nbase_model: org/a\nparameters: {weight: 1}",
            ["org/a", "org/b", "org/c"],
            id="modules",
        ),
        pytest.param(
            "models: [{model: org/z}, {model: org/a, parameters: {weight: 1}}]\nmerge_method: ties\n"
            "base_model: org/z",
            ["org/z", "org/a"],
            id="ties with its base in the list",
        ),
        pytest.param(
            "base_model: org/z\nexperts:\n"
            "  - {source_model: org/a, positive_prompts: [x]}\n"
            "  - {source_model: org/b, positive_prompts: [y]}",
            ["org/z", "org/a", "org/b"],
            id="mixture of experts",
        ),
        pytest.param(
            "models: [{model: org/a@v1+org/lora}]\nmerge_method: passthrough",
            ["org/a", "org/lora"],
            id="LoRA",
        ),
        pytest.param(
            "name: s\nmodels: [{model: org/a}, {model: org/b}]\nmerge_method: linear\n---\n"
            "models: [{model: s}, {model: org/c}]\nmerge_method: linear",
            ["org/a", "org/b", "org/c"],
            id="two stages",
        ),
    ],
)
def test_every_parent_is_named_once(text: str, parents: list[str]) -> None:
    models = {"org/lora": adapter("org/lora"), "org/a@v1": model("org/a@v1")}
    read = head_of(text, {name: known for name, known in models.items() if name in config(text).models()})
    assert read.data["base_model"] == parents
    assert read.data["base_model_relation"] == "merge"
    assert [line[2:] for line in read.text.splitlines() if line.startswith("* ")] == [
        link(p) for p in parents
    ]
    assert set(parents) <= set(read.data["tags"])


def test_the_head_is_what_the_hub_and_the_family_tree_read() -> None:
    models = {"org/b": replace(model("org/b"), card={"license": "MIT", "language": ["en", False]})}
    assert head_of(PAIR, models).data == {
        "license": "apache-2.0",
        "language": ["en", "no"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": ["org/a", "org/b"],
        "base_model_relation": "merge",
        "tags": ["merge", "mergekit", "lazymergekit", "linear", "org/a", "org/b"],
    }


def test_a_mixture_has_the_tags_of_its_kind() -> None:
    text = "base_model: org/a\ngate_mode: random\nexperts: [{source_model: org/b}, {source_model: org/c}]"
    read = head_of(text)
    assert {"moe", "frankenmoe"} <= set(read.data["tags"])
    assert "merged is a Mixture of Experts made with" in read.text


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (PAIR, [(link("org/a"), "all layers", "weight 0.6"), (link("org/b"), "all layers", "weight 0.4")]),
        (
            "slices: [{sources: [{model: org/a, layer_range: [0, 2], parameters: {t: [0, 1]}}]}]\n"
            "merge_method: passthrough",
            [(link("org/a"), "layers 0 to 1", "t [0, 1]")],
        ),
        (
            "models: [{model: org/b, parameters: {weight: 1}}]\nmerge_method: ties\nbase_model: org/a",
            [(link("org/b"), "all layers", "weight 1"), (link("org/a"), "base", "")],
        ),
        (
            "base_model: org/a\nexperts: [{source_model: org/b, positive_prompts: [x, y]}]\n"
            "shared_experts: [{source_model: org/c}]",
            [
                (link("org/a"), "base", ""),
                (link("org/b"), "expert", "x, y"),
                (link("org/c"), "shared expert", ""),
            ],
        ),
        (
            "name: s\nmodels: [{model: org/a}]\nmerge_method: ties\n---\n"
            "models: [{model: s}]\nmerge_method: ties",
            [(link("org/a"), "all layers", ""), ("stage s", "all layers", "")],
        ),
    ],
)
def test_the_table_says_what_came_from_where(text: str, rows: list[tuple[str, ...]]) -> None:
    assert table(text_of(text)) == rows


def test_a_prompt_cannot_break_the_table() -> None:
    text = text_of('base_model: org/a\nexperts: [{source_model: org/b, positive_prompts: ["a|b\\nc"]}]')
    assert (link("org/b"), "expert", "a\\|b c") in [
        tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in text.splitlines()
    ]


def test_a_local_folder_is_named_but_is_no_id() -> None:
    text = PAIR.replace("org/b", "/home/me/secret/my-tune")
    models = {"/home/me/secret/my-tune": folder("/home/me/secret/my-tune", card={"license": "mit"})}
    made = text_of(text, models)
    assert as_the_hub_reads(made).data["base_model"] == ["org/a"]
    assert "* my-tune (not on the Hub)" in made
    assert "/home/me/secret" not in made.partition("## 🧩 Configuration")[0]


def test_folders_alone_leave_no_base_model_at_all() -> None:
    text = PAIR.replace("org/", "/models/")
    models = {name: folder(name) for name in ("/models/a", "/models/b")}
    data = head_of(text, models).data
    assert "base_model" not in data
    assert "base_model_relation" not in data


def test_a_folder_that_came_from_the_hub_is_its_repository() -> None:
    text = PAIR.replace("org/b", "/cache/b")
    made = head_of(text, {"/cache/b": folder("/cache/b", hub_id="org/origin")})
    assert made.data["base_model"] == ["org/a", "org/origin"]
    assert link("org/origin") in made.text


def test_a_model_read_for_its_tokenizer_alone_is_no_parent() -> None:
    assert head_of(PAIR + "tokenizer_source: org/t\n").data["base_model"] == ["org/a", "org/b"]


def test_licences_that_conflict_are_named_in_the_card() -> None:
    models = {name: replace(model(name), card={"license": licence})
              for name, licence in (("org/a", "llama3"), ("org/b", "gemma"))}  # fmt: skip
    made = head_of(PAIR, models)
    assert made.data["license"] == "other"
    assert "> **Licence:** These licences conflict: org/a (llama3), org/b (gemma)." in made.text


def test_what_the_user_says_of_the_card_wins() -> None:
    wishes = "card: {title: My Model, license: mit, language: [de], tags: [mine]}\nmerge:\n"
    nested = "".join(f"  {line}\n" for line in PAIR.strip().splitlines())
    models = {"org/b": replace(model("org/b"), card={})}
    made = head_of(wishes + nested, models)
    assert (made.data["license"], made.data["language"]) == ("mit", ["de"])
    assert "mine" in made.data["tags"]
    assert "# My Model\n" in made.text
    assert "Licence:" not in made.text


def test_the_recipe_is_in_the_card_verbatim_and_beside_it() -> None:
    text = PAIR + "# why: ```because```\n"
    read = config(text)
    made = card(read, facts(read), artifact(), None)
    assert made.files == {"mergekit_config.yml": text}
    assert f"````yaml\n{text.rstrip()}\n````" in render(made, "llmcourse.merge")


def test_the_method_links_to_its_paper_and_the_donor_is_named() -> None:
    made = text_of("models: [{model: org/b, parameters: {weight: 1}}]\nmerge_method: ties\nbase_model: org/a")
    donor = f"Configuration and tokenizer come from {link('org/a')}."
    assert f"Method: [TIES](https://arxiv.org/abs/2306.01708). {donor}" in made


@pytest.mark.parametrize(("repo", "place"), [("me/merged", "me/merged"), (None, "merged")])
def test_the_usage_loads_what_was_published_and_never_a_path_of_this_machine(
    repo: str | None, place: str
) -> None:
    made = text_of(PAIR, repo=repo)
    assert f'model = "{place}"' in made
    assert "/home/me" not in made


def test_the_same_merge_gives_the_same_card() -> None:
    assert text_of(PAIR) == text_of(PAIR)
    reordered = dict(reversed(list(facts(config(PAIR)).models.items())))
    assert as_the_hub_reads(text_of(PAIR, reordered)).data["base_model"] == ["org/a", "org/b"]


@pytest.mark.parametrize("path", sorted(Path("configs/merge").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_card_of_every_config_we_ship_is_one_the_hub_reads(path: Path) -> None:
    read = config(path.read_text())
    made = render(card(read, facts(read), artifact(), "me/merged"), "llmcourse.merge")
    assert yaml.safe_load(made.split("---\n")[1])["base_model"] == as_the_hub_reads(made).data["base_model"]
    assert made.count("\n\n\n") == 0


def test_the_seed_of_a_random_method_stands_in_the_card_where_one_was_given() -> None:
    assert "random seed" not in text_of(PAIR)
    assert ", random seed 42. Configuration" in text_of(PAIR + "options: {random_seed: 42}\n")


def test_relative_ways_to_folders_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    recipe = PAIR.replace("org/a", "../models/mine")
    mine = replace(model("../models/mine"), hub_id=None)
    text = text_of(recipe, {"../models/mine": mine, "org/b": model("org/b")})
    assert "../models" not in text and "model: mine" in text
