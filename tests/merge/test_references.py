"""Where a recipe may name models, and the order of stages that name each other."""

from pathlib import Path

import pytest

from llmcourse.core.errors import ConfigError
from llmcourse.merge.config import result_stage, walk_stages
from llmcourse.merge.recipe import Reference
from tests.merge.builders import config

MODELS = "models: [{model: org/a}, {model: org/b}]\nmerge_method: ties\n"


@pytest.mark.parametrize(
    ("text", "models"),
    [
        (MODELS, ["org/a", "org/b"]),
        (MODELS + "base_model: org/z", ["org/z", "org/a", "org/b"]),
        (MODELS + "tokenizer_source: org/t", ["org/a", "org/b", "org/t"]),
        (MODELS + "tokenizer_source: union", ["org/a", "org/b"]),
        (MODELS + "tokenizer: {source: org/t}", ["org/a", "org/b", "org/t"]),
        (MODELS + "tokenizer: {tokens: {<x>: {source: org/t}}}", ["org/a", "org/b", "org/t"]),
        (
            MODELS + "tokenizer: {tokens: {<x>: {source: {kind: model_token, model: org/t, token: y}}}}",
            ["org/a", "org/b", "org/t"],
        ),
        (MODELS + "tokenizer: {tokens: {<x>: {source: {kind: zero}}}}", ["org/a", "org/b"]),
        (
            "slices: [{base_model: org/z, sources: [{model: org/a, layer_range: [0, 1]}]}]\n"
            "merge_method: ties",
            ["org/z", "org/a"],
        ),
        (
            "modules: {text: {models: [{model: org/a}]}, vision: {slices: [{sources: "
            "[{model: org/b, layer_range: [0, 1]}]}]}}\nmerge_method: ties",
            ["org/a", "org/b"],
        ),
        (
            "base_model: org/z\nexperts: [{source_model: org/a}]\nshared_experts: [{source_model: org/s}]",
            ["org/z", "org/a", "org/s"],
        ),
        ("models: [{model: org/a+org/lora}, {model: org/a}]\nmerge_method: ties", ["org/a", "org/lora"]),
    ],
)
def test_every_place_that_names_a_model_is_read(text: str, models: list[str]) -> None:
    assert list(config(text).models()) == models


@pytest.mark.parametrize(
    ("text", "model", "lora"),
    [
        ("org/a", "org/a", None),
        ("org/a+org/lora", "org/a", "org/lora"),
        ("org/a@v1+org/lora@v2", "org/a@v1", "org/lora@v2"),
    ],
)
def test_a_lora_is_written_behind_its_model(text: str, model: str, lora: str | None) -> None:
    reference = Reference.model_validate(text)
    assert (reference.model, reference.lora, str(reference)) == (model, lora, text)


def test_a_folder_with_a_plus_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert Reference.model_validate(str(tmp_path / "a+b")).lora is None


def test_references_are_read_as_mergekit_s_objects_too() -> None:
    written = {"model": {"path": "org/a", "revision": "v1"}, "lora": {"path": "org/l", "revision": None}}
    assert str(Reference.model_validate(written)) == "org/a@v1+org/l"


def stage(name: str | None, *models: str) -> str:
    entries = ", ".join(f"{{model: {model}}}" for model in models)
    return f"{f'name: {name}' if name else ''}\nmodels: [{entries}]\nmerge_method: ties\n"


def stages(*parts: str) -> str:
    return "---\n".join(parts)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (stages(stage("a", "org/x"), stage(None, "a")), ["a", None]),
        (stages(stage(None, "a"), stage("a", "org/x")), ["a", None]),
        (stages(stage("b", "a"), stage(None, "a", "b"), stage("a", "org/x")), ["a", "b", None]),
        (stages(stage("a", "org/x"), stage("b", "a")), ["a", "b"]),
        (stages(stage("only", "org/x")), ["only"]),
    ],
)
def test_a_stage_comes_after_those_it_uses(text: str, order: list[str | None]) -> None:
    read = config(text)
    assert [one.name for one in walk_stages(read)] == order
    assert result_stage(read).name == order[-1]


def test_a_stage_may_be_used_for_its_tokenizer_alone() -> None:
    text = stages(stage(None, "org/x") + "tokenizer_source: a\n", stage("a", "org/y"))
    assert [one.name for one in walk_stages(config(text))] == ["a", None]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (stages(stage("a", "b"), stage("b", "a")), "The stages a, b use each other in a circle."),
        (
            stages(stage("a", "b"), stage("b", "a"), stage(None, "a")),
            "The stages a, b, (unnamed) use each other in a circle.",
        ),
        (stages(stage("a", "a")), "The stages a use each other in a circle."),
        (
            stages(stage("a", "org/x"), stage("b", "org/y")),
            "2 stages are used by no other (a, b); the result must be one.",
        ),
    ],
)
def test_stages_that_lead_to_no_single_result_are_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(walk_stages(config(text)))
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (stages(stage(None, "org/x"), stage(None, "org/y")), "two documents are unnamed."),
        (stages(stage("a", "org/x"), stage("a", "org/y")), "two documents are called 'a'."),
        (stage("../a", "org/x"), "the stage name '../a' leaves its folder."),
        (stage("/a/b", "org/x"), "the stage name '/a/b' leaves its folder."),
        (stage("'..'", "org/x"), "the stage name '..' leaves its folder."),
        (stage("a/../../b", "org/x"), "the stage name 'a/../../b' leaves its folder."),
    ],
)
def test_a_stage_needs_a_plain_name_of_its_own(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert caught.value.what == what


def test_a_stage_may_be_named_like_a_repository_and_unused_ones_are_left_out() -> None:
    read = config(stages(stage("org/soup", "org/x"), stage("side", "org/y"), stage(None, "org/soup")))
    assert [part.name for part in walk_stages(read)] == ["org/soup", None]
