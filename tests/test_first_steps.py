"""`init` writes configs that run, and never over anything; `schema` prints what schema_of says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmcourse.schema import schema_of

ROOT = Path(__file__).parent.parent


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "llmcourse", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_init_writes_a_config_whose_header_names_it(tmp_path: Path) -> None:
    done = run("init", "merge", "-o", "mine.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mine.yaml\n")
    text = (tmp_path / "mine.yaml").read_text()
    assert "llmcourse merge mine.yaml -o merged" in text
    assert "configs/merge/slerp.yaml" not in text
    assert text.startswith("# yaml-language-server: $schema=merge.schema.json\n# SLERP")
    assert json.loads((tmp_path / "merge.schema.json").read_text()) == schema_of("merge")


def test_init_writes_into_a_folder_that_need_not_be_there(tmp_path: Path) -> None:
    done = run("init", "merge", "-o", "configs/", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "configs/slerp.yaml\n")
    assert {path.name for path in (tmp_path / "configs").iterdir()} == {"slerp.yaml", "merge.schema.json"}


def test_init_writes_over_nothing(tmp_path: Path) -> None:
    (tmp_path / "usual.yaml").write_text("mine")
    done = run("init", "quantize-gguf", cwd=tmp_path)
    assert done.returncode == 4
    assert "is there already" in done.stderr
    assert (tmp_path / "usual.yaml").read_text() == "mine"


def test_init_alone_lists_every_config(tmp_path: Path) -> None:
    found = json.loads(run("init", "--json", cwd=tmp_path).stdout)
    assert len(found) == len(list((ROOT / "configs").rglob("*.yaml")))
    assert found["merge slerp"].startswith("SLERP")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("init", "mrege"), "merge"),
        (("init", "merge", "slrep"), "slerp"),
        (("schema", "autoval"), "autoeval"),
    ],
)
def test_a_typo_gets_a_suggestion(tmp_path: Path, words: tuple[str, ...], meant: str) -> None:
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Did you mean '{meant}'?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_schema_prints_the_schema(tmp_path: Path) -> None:
    assert json.loads(run("schema", "merge", cwd=tmp_path).stdout) == schema_of("merge")


def test_a_file_in_the_place_of_a_folder_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("init", "merge", "-o", "file/m.yaml", cwd=tmp_path)
    assert done.returncode == 4 and "file is no folder." in done.stderr
