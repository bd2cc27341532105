"""The model of a pipe: what `model=-` takes from stdin."""

import io
import json
from pathlib import Path

import pytest

from llmcourse.core.config import load
from llmcourse.core.errors import ConfigError
from llmcourse.quantize_gguf.config import Config
from llmcourse.testing.plugin import Cli
from tests.model_folders import write_model

HUB = "hf://me/soup@" + "a" * 40


def read(folder: Path, monkeypatch: pytest.MonkeyPatch, stdin: str, text: str = "model: '-'\n") -> Config:
    (folder / "g.yaml").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    return load(Config, str(folder / "g.yaml"))


@pytest.mark.parametrize(
    ("stdin", "model"),
    [
        ("merged\n", "merged"),
        (f"{HUB}\n", HUB),
        ("/a folder/with spaces\n", "/a folder/with spaces"),
        (json.dumps({"reference": HUB, "path": "/out"}, indent=2), HUB),
        (json.dumps({"reference": "/out/merged"}), "/out/merged"),
    ],
)
def test_a_line_or_the_document_of_the_command_before_names_the_model(
    stdin: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, monkeypatch, stdin).model == model


@pytest.mark.parametrize(
    ("stdin", "what"),
    [
        ("", "No model came through the pipe."),
        ("\n  \n", "No model came through the pipe."),
        ("merged\nmore\n", "More than one line came through the pipe."),
        (json.dumps({"error": {"exit_code": 4}}, indent=2), "No model came through the pipe."),
        ('{"reference": ', "No model came through the pipe."),
    ],
)
def test_what_names_no_model_is_refused(
    stdin: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, monkeypatch, stdin)
    assert (caught.value.what, caught.value.where, caught.value.exit_code) == (what, "model", 2)
    assert "-q" in caught.value.fix


def test_stdin_that_names_another_s_model_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, monkeypatch, "merged\n", "model: org/tiny\n").model == "org/tiny"


def test_a_reference_that_is_no_model_is_refused_as_any_other(llmcourse: Cli) -> None:
    (llmcourse.folder / "g.yaml").write_text("model: org/tiny\n")
    result = llmcourse("quantize-gguf", "g.yaml", "model=-", "--dry-run", stdin="./gone\n")
    assert result.exit_code == 4
    assert "There is no model folder './gone'." in result.stdout


def test_the_config_and_the_model_cannot_both_come_through_stdin(llmcourse: Cli) -> None:
    result = llmcourse("quantize-gguf", "-", stdin="model: '-'\n")
    assert result.exit_code == 2
    assert "Both the config and the model are to be read from stdin." in result.stderr
    assert "Give the config as a file." in result.stderr


def test_a_pipe_whose_first_command_failed_ends_with_its_own_sentence(llmcourse: Cli) -> None:
    (llmcourse.folder / "g.yaml").write_text("model: org/tiny\n")
    result = llmcourse("quantize-gguf", "g.yaml", "model=-", "-q", "--json")
    assert result.exit_code == 2
    assert result.json["error"]["what"] == "No model came through the pipe."
    assert list(llmcourse.folder.iterdir()) == [llmcourse.folder / "g.yaml"]


def test_a_folder_and_a_repository_at_a_commit_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "merged")
    folder = read(tmp_path, monkeypatch, f"{tmp_path / 'merged'}\n")
    [local] = folder.models().values()
    assert local.is_local
    [hub] = read(tmp_path, monkeypatch, f"{HUB}\n").models().values()
    assert (hub.path, hub.revision, hub.is_local) == ("me/soup", "a" * 40, False)


def test_a_model_in_the_file_may_be_a_bare_dash_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, monkeypatch, "merged\n", "model: -\n").model == "merged"
