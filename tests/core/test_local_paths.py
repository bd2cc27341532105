"""Relative paths in a config start at its own folder, those that are typed at the current one."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from llmcourse.autoeval.config import Config as Evaluation
from llmcourse.core.config import load
from llmcourse.core.errors import PlanError
from llmcourse.core.plan import PlanModule
from llmcourse.core.planning import Planning, Request
from llmcourse.family_tree.config import Config as Family
from llmcourse.merge.config import Config as Merge
from llmcourse.quantize_exl2.config import Config as Exl2
from llmcourse.quantize_gguf import plan as planner
from llmcourse.quantize_gguf.config import Config as Gguf
from llmcourse.quantize_gptq.config import Config as Gptq
from llmcourse.testing.plugin import Cli

CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gguf": (Gguf, {"model": "a", "base": "b", "imatrix": {"text": "t.txt"}, "quality": "t.txt",
                    "converter": "b"}),
    "gguf matrix": (Gguf, {"model": "a", "imatrix": "t.txt", "quality": {"text": "t.txt"}}),
    "gptq": (Gptq, {"model": "a", "calibration": {"text": ["t.txt"]}, "quality": "t.txt"}),
    "gptq file": (Gptq, {"model": "a", "calibration": {"file": "t.txt"}, "quality": "none"}),
    "exl2": (Exl2, {"model": "a", "bits_per_weight": 4, "measurement": "t.txt", "quality": "t.txt"}),
    "autoeval": (Evaluation, {"model": ["a", "b"], "suite": "s.yaml", "reference": ["b"]}),
    "family-tree": (Family, {"model": ["a", "b"]}),
    "merge": (Merge, {"merge_method": "ties", "base_model": "a", "tokenizer": {"source": "b"},
                      "models": [{"model": "b"}, {"model": "a+b"},
                                 {"model": {"model": {"path": "a"}, "lora": "b"}}]}),
    "moe": (Merge, {"base_model": "a", "experts": [{"source_model": "b"}, {"source_model": "a"}]}),
}  # fmt: skip


def leaves(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return [leaf for item in items for leaf in leaves(item)]
    return [value] if isinstance(value, str) else []


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, beside `config/` in which everything lies."""
    (tmp_path / "config").mkdir()
    for name in ("a", "b"):
        (tmp_path / "config" / name).mkdir()
    for name in ("t.txt", "s.yaml"):
        (tmp_path / "config" / name).write_text("")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("name", CONFIGS)
def test_paths_start_at_the_folder_of_the_config(elsewhere: Path, name: str) -> None:
    model, data = CONFIGS[name]
    (elsewhere.parent / "config" / "c.yaml").write_text(yaml.safe_dump(data))
    notes: list[str] = []
    read = load(model, "../config/c.yaml", note=notes.append).model_dump(mode="json", exclude_unset=True)
    found = {part for leaf in leaves(read) for part in leaf.split("+")}
    assert {"../config/a"} < found and not {"a", "b", "t.txt", "s.yaml"} & found and not notes


def test_what_is_typed_starts_at_the_current_folder(elsewhere: Path) -> None:
    (elsewhere.parent / "config" / "c.yaml").write_text("model: a\n")
    assert load(Gguf, "../config/c.yaml", ["model=a"]).model == "a"
    assert load(Gguf, "../config/c.yaml", ["imatrix.text=t.txt"]).model == "../config/a"


def test_what_lies_only_in_the_current_folder_is_read_with_a_notice_that_is_followed(elsewhere: Path) -> None:
    config = elsewhere.parent / "config" / "c.yaml"
    (elsewhere / "only").mkdir()
    config.write_text("model: only\n")
    notes: list[str] = []
    assert load(Gguf, str(config), note=notes.append).model == "only"
    assert len(notes) == 1 and "only is not in" in notes[0] and notes[0].endswith("write ../here/only.")
    config.write_text("model: ../here/only\n")
    assert Path(load(Gguf, str(config), note=notes.append).model).resolve() == elsewhere / "only"
    assert len(notes) == 1


@pytest.mark.parametrize("text", ["org/name", "org/name@v2", "hf://org/name", "gpt2", "-"])
def test_ids_of_the_hub_stay_as_they_are(elsewhere: Path, text: str) -> None:
    config = elsewhere.parent / "config" / "c.yaml"
    config.write_text(yaml.safe_dump({"model": [text]}))
    assert load(Family, str(config)).model == [text]


def test_words_and_stages_of_mergekit_are_no_folders(elsewhere: Path) -> None:
    (elsewhere.parent / "config" / "base").mkdir()
    (elsewhere.parent / "config" / "first").mkdir()
    config = elsewhere.parent / "config" / "c.yaml"
    config.write_text(
        "name: first\nmerge_method: linear\nmodels: [{model: a}]\n---\n"
        "merge_method: linear\nmodels: [{model: first}]\ntokenizer: {source: base}\n"
    )
    read = load(Merge, str(config))
    assert list(read.models()) == ["../config/a"] and read.merge[1].tokenizer.source == "base"  # type: ignore[union-attr]
    assert read.recipe_text() == config.read_text()


def test_a_recipe_named_by_a_config_has_paths_of_its_own(elsewhere: Path) -> None:
    folder = elsewhere.parent / "config"
    (folder / "deep" / "c").mkdir(parents=True)
    (folder / "deep" / "r.yaml").write_text("merge_method: linear\nmodels: [{model: c}, {model: ../a}]\n")
    (folder / "c.yaml").write_text("merge: deep/r.yaml\n")
    assert list(load(Merge, "../config/c.yaml").models()) == ["../config/deep/c", "../config/a"]


def test_stdin_starts_at_the_current_folder(elsewhere: Path, llmcourse: Cli) -> None:
    cli = Cli(elsewhere.parent / "config", llmcourse.env)
    said = cli("quantize-gguf", "-", "-n", stdin="model: ./a\nimatrix: t.txt\n")
    assert "a has no config.json" in said.stderr + said.stdout


@pytest.mark.parametrize(
    ("text", "wanted"), [("model: ./gone", "gone"), ("{model: a, imatrix: gone.txt}", "gone.txt")]
)
def test_the_message_names_where_was_looked(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, text: str, wanted: str
) -> None:
    (elsewhere.parent / "config" / "c.yaml").write_text(text)
    facts = _planning(load(Gguf, "../config/c.yaml"), "out").facts
    errors = [*facts.models.values(), *facts.files.values()]
    said = [error.fix for error in errors if isinstance(error, PlanError)]
    assert f"Check the path; it was looked for at {elsewhere.parent / 'config' / wanted}." in said


def test_steps_of_a_pipeline_read_beside_the_pipeline_their_configs_beside_themselves(
    elsewhere: Path, llmcourse: Cli
) -> None:
    folder = elsewhere.parent / "config"
    (folder / "steps").mkdir()
    (folder / "steps" / "g.yaml").write_text("model: ../a\nimatrix: ../t.txt\n")
    (folder / "p.yaml").write_text(
        "steps:\n  one: {command: quantize-gguf, config: steps/g.yaml, with: {quality: t.txt}}\n"
        "  two: {command: quantize-gguf, with: {model: ./b}}\n"
    )
    (elsewhere / "typed").mkdir()
    said = Cli(elsewhere, llmcourse.env)("run", "../config/p.yaml", "-n", "steps.two.with.model=./typed")
    text = said.stdout + said.stderr
    assert "../config/a has no config.json" in text and "typed has no config.json" in text
    assert "cannot be read" not in text and "is read from the current folder" not in text


@pytest.mark.parametrize("is_there", [True, False])
def test_the_output_may_be_a_link_to_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    real = tmp_path / "disk" / "result"
    real.parent.mkdir()
    if is_there:
        real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    planning = _planning(Gguf(model="a"), "link")
    assert planning.output == real
    assert (tmp_path / "link").readlink() == real


@pytest.mark.parametrize("output", ["circle", "one", "one/below"])
@pytest.mark.parametrize("command", ["merge", "run"])
def test_an_output_that_leads_to_itself_is_refused(llmcourse: Cli, command: str, output: str) -> None:
    for name, target in (("circle", "circle"), ("one", "other"), ("other", "one")):
        (llmcourse.folder / name).symlink_to(target)
    merge = {"merge_method": "linear", "models": [{"model": "./a"}, {"model": "./b"}]}
    step = {"steps": {"s": {"command": "merge", "with": merge}}}
    config = llmcourse.folder / "c.yaml"
    config.write_text(json.dumps(merge if command == "merge" else step), encoding="utf-8")
    said = llmcourse(command, config, "--dry-run", "-o", output)
    assert said.exit_code == 4, said.stderr
    assert f"{output} leads through a link to itself." in said.stderr
    assert "fix: Remove that link, or choose another folder with -o." in said.stderr


def _planning(config: Gguf, output: str) -> Planning:
    request = Request("c.yaml", output=output)
    return Planning("quantize-gguf", request, False, config, cast(PlanModule, planner), lambda _: {})
