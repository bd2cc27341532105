"""How a model is named."""

from pathlib import Path

import pytest

from llmcourse.core.model import ModelRef


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", ModelRef("org/name")),
        ("gpt2", ModelRef("gpt2")),
        ("org/name@main", ModelRef("org/name", "main")),
        ("org/name@refs/pr/1", ModelRef("org/name", "refs/pr/1")),
        ("org/name@", ModelRef("org/name")),
        ("hf://org/name", ModelRef("org/name")),
        ("hf://org/name@abc", ModelRef("org/name", "abc")),
        ("/models/gone", ModelRef("/models/gone", is_local=True)),
        ("./gone", ModelRef("./gone", is_local=True)),
        ("../gone", ModelRef("../gone", is_local=True)),
        ("~/gone", ModelRef("~/gone", is_local=True)),
        ("a/b/c", ModelRef("a/b/c", is_local=True)),
        ("models\\gone", ModelRef("models\\gone", is_local=True)),
    ],
)
def test_a_reference_is_read_as_it_is_written(text: str, expected: ModelRef) -> None:
    assert ModelRef.parse(text) == expected


@pytest.mark.parametrize("name", ["plain", "with@sign", "a+b", "ünï-模型", "two words", "v1.0@final+lora"])
def test_what_exists_as_a_folder_is_that_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    ref = ModelRef.parse(str(tmp_path / name))
    assert ref == ModelRef(str(tmp_path / name), is_local=True)
    assert ref.folder == tmp_path / name


def test_a_folder_wins_over_a_hub_id_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse("org/name").is_local
    assert not ModelRef.parse("hf://org/name").is_local


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    ref = ModelRef.parse("~/model")
    assert (ref.is_local, ref.folder) == (True, tmp_path / "model")


@pytest.mark.parametrize("text", ["org/name", "org/name@dev", "/models/gone"])
def test_a_reference_prints_as_it_was_written(text: str) -> None:
    assert str(ModelRef.parse(text)) == text
