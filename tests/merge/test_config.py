"""What a merge config may say, and how it is read."""

from pathlib import Path
from textwrap import dedent

import pytest

from llmcourse.core.config import load
from llmcourse.core.errors import ConfigError, LlmcourseError, Problems
from llmcourse.merge.config import Config
from llmcourse.merge.recipe import Moe, Recipe

SLERP = """\
# half of each
slices:
  - sources:
      - model: org/a
        layer_range: [0, 2]
      - model: org/b
        layer_range: [0, 2]
merge_method: slerp
base_model: org/a
parameters:
  t: 0.5 # the middle
dtype: bfloat16
"""
MOE = """\
base_model: org/a
gate_mode: random
experts:
  - source_model: org/b
  - source_model: org/c
"""
STAGES = """\
name: soup # first
models:
  - {model: org/a, parameters: {weight: 1}}
merge_method: linear
---
models: # second
  - {model: soup, parameters: {weight: 1}}
  - {model: org/b, parameters: {weight: 1}}
merge_method: linear
"""


def read(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "m.yaml"
    path.write_text(dedent(text))
    return load(Config, str(path), overrides)


def refusal(folder: Path, text: str, *overrides: str) -> LlmcourseError:
    with pytest.raises(LlmcourseError) as caught:
        read(folder, text, *overrides)
    return caught.value


def indented(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))


def recipe(config: Config, index: int = 0) -> Recipe:
    stage = config.merge[index]
    assert isinstance(stage, Recipe)
    return stage


def test_a_mergekit_file_is_a_config(tmp_path: Path) -> None:
    config = read(tmp_path, SLERP)
    assert recipe(config).merge_method == "slerp"
    assert recipe(config).parameters == {"t": 0.5}
    assert list(config.models()) == ["org/a", "org/b"]


def test_a_file_of_several_documents_is_a_config_of_stages(tmp_path: Path) -> None:
    config = read(tmp_path, STAGES)
    assert [stage.name for stage in config.merge] == ["soup", None]
    assert list(config.models()) == ["org/a", "org/b"]


def test_a_mergekit_moe_file_is_a_config(tmp_path: Path) -> None:
    config = read(tmp_path, MOE)
    assert isinstance(config.merge[0], Moe)
    assert list(config.models()) == ["org/a", "org/b", "org/c"]


def test_a_wrapper_holds_a_document(tmp_path: Path) -> None:
    config = read(tmp_path, f"output: out\nmerge:\n{indented(SLERP)}profile: cpu\n")
    assert (config.output, config.profile) == ("out", "cpu")
    assert recipe(config).base_model is not None


def test_a_wrapper_holds_a_list_of_stages(tmp_path: Path) -> None:
    text = "merge:\n- {name: s, models: [{model: org/a}], merge_method: passthrough}\n"
    text += "- {models: [{model: s}], merge_method: passthrough}\n"
    assert [stage.name for stage in read(tmp_path, text).merge] == ["s", None]


def test_a_path_in_a_wrapper_is_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "slerp.yaml").write_text(SLERP)
    config = read(tmp_path, "merge: recipes/slerp.yaml\nprofile: cpu\n")
    assert recipe(config).merge_method == "slerp"
    assert config.recipe_text() == SLERP


def test_an_error_in_a_file_that_a_wrapper_names_is_placed_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "slerp.yaml").write_text(SLERP.replace("dtype", "dtyp"))
    error = refusal(tmp_path, "merge: slerp.yaml\n")
    assert (error.fix, error.where) == ("Did you mean 'dtype'?", f"{tmp_path / 'slerp.yaml'}:12:1")


def test_overrides_go_to_the_document_or_to_what_is_around_it(tmp_path: Path) -> None:
    config = read(
        tmp_path, SLERP, "dtype=float16", "slices.0.sources.1.model=org/z", "profile=gpu", "hub.repo=me/x",
        "options.random_seed=7", "parameters.t=[0, 1]",
    )  # fmt: skip
    assert (recipe(config).dtype, recipe(config).parameters) == ("float16", {"t": [0, 1]})
    assert list(config.models()) == ["org/a", "org/z"]
    assert (config.profile, config.options.random_seed) == ("gpu", 7)
    assert config.hub is not None


@pytest.mark.parametrize("key", ["dtype", "merge.dtype", "merge.0.dtype"])
def test_a_document_is_overridden_by_each_of_its_names(tmp_path: Path, key: str) -> None:
    for text in (SLERP, f"merge:\n{indented(SLERP)}"):
        assert recipe(read(tmp_path, text, f"{key}=float32")).dtype == "float32"


def test_a_later_stage_is_overridden_by_its_number(tmp_path: Path) -> None:
    config = read(tmp_path, STAGES, "merge.1.models.0.parameters.weight=3")
    assert [entry.parameters for entry in recipe(config, 1).models or []] == [{"weight": 3}, {"weight": 1}]


@pytest.mark.parametrize(
    ("wrong", "right", "place"),
    [
        ("merge_metod: slerp", "merge_method", "8:1"),
        ("base_modle: org/a", "base_model", "9:1"),
        ("paramters:", "parameters", "10:1"),
        ("        layer_rage: [0, 2]", "layer_range", "5:9"),
    ],
)
def test_a_typo_is_refused_with_its_place(tmp_path: Path, wrong: str, right: str, place: str) -> None:
    lines = SLERP.splitlines()
    lines[int(place.partition(":")[0]) - 1] = wrong
    error = refusal(tmp_path, "\n".join(lines))
    errors = error.errors if isinstance(error, Problems) else (error,)
    [typo] = [one for one in errors if "is not a known key" in one.what]
    assert (typo.fix, typo.where) == (f"Did you mean {right!r}?", f"{tmp_path / 'm.yaml'}:{place}")


def test_keys_that_mergekit_ignores_are_ignored_and_listed(tmp_path: Path) -> None:
    config = read(tmp_path, SLERP + "author: me\n" + "tokenizer: {source: base, colour: red}\n")
    where = tmp_path / "m.yaml"
    assert config.ignored_keys == [f"author ({where}:13:1)", f"colour ({where}:14:27)"]
    assert recipe(config).tokenizer is not None


def test_a_typo_in_the_wrapper_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, f"merge:\n{indented(SLERP)}optins: {{}}\n")
    assert error.fix == "Did you mean 'options'?"


@pytest.mark.parametrize("text", [SLERP, STAGES, MOE])
def test_the_recipe_is_kept_as_written_comments_and_all(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).recipe_text() == text


def test_an_override_outside_the_recipe_keeps_it_as_written(tmp_path: Path) -> None:
    assert read(tmp_path, SLERP, "profile=gpu").recipe_text() == SLERP


@pytest.mark.parametrize(
    ("text", "override"),
    [(SLERP, "dtype=float16"), (STAGES, "merge.0.dtype=float16"), (MOE, "experts_per_token=1")],
)
def test_after_an_override_the_recipe_says_what_was_done(tmp_path: Path, text: str, override: str) -> None:
    config = read(tmp_path, text, override)
    dumped = config.recipe_text()
    assert "#" not in dumped
    (tmp_path / "again.yaml").write_text(dumped)
    assert load(Config, str(tmp_path / "again.yaml")).merge == config.merge


def test_references_are_dumped_as_people_write_them(tmp_path: Path) -> None:
    text = "models: [{model: org/a@v1+org/lora}]\nmerge_method: passthrough\n"
    assert "model: org/a@v1+org/lora\n" in read(tmp_path, text, "dtype=float16").recipe_text()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("models: []\nmerge_method: ties", "it has none of them"),
        (SLERP + "models: [{model: org/a}]\n", "it has models and slices"),
        (SLERP + "tokenizer: {}\ntokenizer_source: base\n", "tokenizer and tokenizer_source exclude"),
        ("modules: {m: {}}\nmerge_method: ties", "a module needs either slices or models"),
        ("models: [{model: org/a+b/c+d/e}]\nmerge_method: ties", "names more than one LoRA"),
        ("models: [{model: ''}]\nmerge_method: ties", "a model is missing here"),
        ("models: [{model: }]\nmerge_method: ties", "a model is missing here"),
        ("- a\n- b\n", "A merge must be a mapping of keys."),
        ("merge: [5]\n", "A merge must be a mapping of keys."),
        (f"{MOE}experts_per_token: 0\n", "experts_per_token is 0."),
        (MOE.replace("random", "psychic"), "gate_mode"),
        (f"merge:\n{indented(SLERP)}profile: tpu\n", "profile"),
    ],
)
def test_what_cannot_be_a_merge_is_refused(tmp_path: Path, text: str, what: str) -> None:
    error = refusal(tmp_path, text)
    assert error.exit_code == 2
    assert what in error.what
    assert str(error.where).startswith(f"{tmp_path / 'm.yaml'}:")


def test_a_wrapper_that_names_no_file_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, "merge: gone.yaml\n")
    assert isinstance(error, ConfigError)
    assert error.what == f"There is no file {str(tmp_path / 'gone.yaml')!r}."


@pytest.mark.parametrize(
    ("value", "size"),
    [("5B", 5 * 10**9), ("500M", 500 * 10**6), ("100k", 100_000), ("1G", 10**9), ("12", 12)],
)
def test_shard_sizes_are_written_as_mergekit_writes_them(tmp_path: Path, value: str, size: int) -> None:
    assert read(tmp_path, SLERP, f"options.out_shard_size={value}").options.out_shard_size == size


def test_an_empty_list_of_documents_is_refused(tmp_path: Path) -> None:
    assert "no document" in refusal(tmp_path, "merge: []\n").what


@pytest.mark.parametrize("key", ["source", "ignored_keys"])
def test_what_is_filled_when_reading_is_no_key_of_the_yaml(key: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, f"merge: {{merge_method: linear, models: [{{model: a/b}}]}}\n{key}: hello\n")
    assert key in error.what and key not in error.fix


def test_wrapper_keys_beside_mergekits_mean_what_they_say(tmp_path: Path) -> None:
    config = read(tmp_path, SLERP + "hub: {repo: me/merged}\noptions: {random_seed: 7}\n")
    assert config.hub is not None and config.hub.repo == "me/merged"
    assert config.options.random_seed == 7
    assert not config.ignored_keys


def test_a_token_takes_its_embedding_from_a_model_a_token_or_nothing(tmp_path: Path) -> None:
    tokens = "{<a>: {source: org/x}, <b>: {source: {kind: model_token, model: org/y, token: <q>}}, "
    config = read(
        tmp_path,
        SLERP + f"tokenizer: {{source: union, tokens: {tokens} <c>: {{source: {{kind: zero}}}}}}}}\n",
    )
    assert {"org/x", "org/y"} <= set(config.models())


@pytest.mark.parametrize("source", ["''", "{kind: model_token}", "{kind: bogus}"])
def test_a_token_source_that_means_nothing_is_refused_with_its_place(source: str, tmp_path: Path) -> None:
    error = refusal(tmp_path, SLERP + f"tokenizer: {{tokens: {{<a>: {{source: {source}}}}}}}\n")
    assert error.where is not None and "m.yaml:13" in error.where
