"""The staging folder: resume, lock, publication by one rename."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.errors import PlanError
from llmcourse.core.workspace import Workspace, read_artifact, save_artifact, write_text


def artifact(workspace: Workspace) -> Artifact:
    return Artifact(
        command="merge",
        path=str(workspace.output),
        fingerprint=workspace.fingerprint,
        files=tuple(workspace.done),
        inputs={"org/a": "c" * 40},
        versions={"llmcourse": "0"},
        timings_s={"run": 1.0},
    )


def commit(workspace: Workspace, name: str, text: str) -> OutputFile:
    (workspace.files / name).write_text(text)
    file = OutputFile.of(workspace.files, name, {"random_state": "x"})
    workspace.commit(file)
    return file


def made(output: Path, fingerprint: str = "f", text: str = "weights") -> Workspace:
    """A finished run."""
    workspace = Workspace(output, fingerprint)
    with workspace.opened():
        commit(workspace, "w.bin", text)
        workspace.publish(artifact(workspace))
        workspace.clean()
    return workspace


def interrupted(output: Path, fingerprint: str = "f") -> Workspace:
    """A run that ended after its first file."""
    workspace = Workspace(output, fingerprint)
    with workspace.opened():
        commit(workspace, "a.bin", "first")
        (workspace.scratch / "half.bin").write_text("half")
    return workspace


def test_the_same_run_takes_up_what_was_finished(tmp_path: Path) -> None:
    interrupted(tmp_path / "out")
    again = Workspace(tmp_path / "out", "f")
    with again.opened():
        assert [(file.path, file.state) for file in again.done] == [("a.bin", {"random_state": "x"})]
        assert (again.scratch / "half.bin").exists()


def test_another_run_begins_anew(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", "f")
    other = Workspace(tmp_path / "out", "g")
    with other.opened():
        assert other.done == []
        assert list(other.files.iterdir()) == list(other.scratch.iterdir()) == []


@pytest.mark.parametrize("damage", ["shorter", "changed", "gone"])
def test_a_recorded_file_that_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    path = interrupted(tmp_path / "out").files / "a.bin"
    if damage == "gone":
        path.unlink()
    else:
        path.write_text("fir" if damage == "shorter" else "FIRST")
    again = Workspace(tmp_path / "out", "f")
    with again.opened():
        assert again.done == []


def test_a_torn_record_is_no_record(tmp_path: Path) -> None:
    (interrupted(tmp_path / "out").staging / "run.json").write_text('{"fingerprint": "f", "fi')
    again = Workspace(tmp_path / "out", "f")
    with again.opened():
        assert again.done == []


def test_a_file_committed_twice_is_recorded_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out", "f")
    with workspace.opened():
        commit(workspace, "a.bin", "old")
        second = commit(workspace, "a.bin", "newer")
        assert workspace.done == [second]


HOLD = """
import sys
from pathlib import Path
from llmcourse.core.workspace import Workspace
with Workspace(Path(sys.argv[1]), "f").opened():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(output: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "out", "f")
    with held_by_another_process(tmp_path / "out"), pytest.raises(PlanError) as caught, workspace.opened():
        pass
    assert caught.value.what == "Another llmcourse process is writing out."
    assert caught.value.fix == "Wait for it to end, or choose another folder with -o."


def test_the_lock_of_a_killed_process_holds_nobody(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path / "out") as process:
        process.kill()
    with Workspace(tmp_path / "out", "f").opened():
        pass


def test_a_published_result_is_whole_and_leaves_no_staging(tmp_path: Path) -> None:
    workspace = made(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in workspace.output.iterdir()) == ["llmcourse.json", "w.bin"]
    finished = Workspace(tmp_path / "out", "f").finished()
    assert finished == replace(artifact(workspace), cached=True)


def test_a_result_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    made(tmp_path / "out", "f")
    (tmp_path / "out" / "mine.bin").write_text("not of llmcourse")
    made(tmp_path / "out", "g", "other weights")
    assert (tmp_path / "out" / "w.bin").read_text() == "other weights"
    assert (tmp_path / "out" / "mine.bin").read_text() == "not of llmcourse"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    made(tmp_path / "out")
    assert (tmp_path / "out" / "w.bin").exists()


@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_a_result_that_lost_a_file_is_not_finished(tmp_path: Path, damage: str) -> None:
    workspace = made(tmp_path / "out")
    path = workspace.output / "w.bin"
    path.unlink() if damage == "gone" else path.write_text("we")
    assert Workspace(tmp_path / "out", "f").finished() is None


def test_the_result_of_another_run_is_not_this_one(tmp_path: Path) -> None:
    made(tmp_path / "out", "f")
    assert Workspace(tmp_path / "out", "g").finished() is None


def test_the_manifest_says_nothing_of_this_machine(tmp_path: Path) -> None:
    workspace = made(tmp_path / "out")
    assert str(tmp_path) not in (workspace.output / "llmcourse.json").read_text()
    assert "random_state" not in (workspace.output / "llmcourse.json").read_text()


@pytest.mark.parametrize("text", ["{}", "[]", "torn", '{"command": "merge"}'])
def test_a_folder_of_another_program_is_none_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "llmcourse.json").write_text(text)
    assert read_artifact(tmp_path) is None


def test_an_artifact_is_read_as_it_was_written(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "f")
    save_artifact(tmp_path, artifact(workspace))
    assert read_artifact(tmp_path) == artifact(workspace)


def test_a_text_that_says_this_already_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    write_text(path, "same")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    write_text(path, "same")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
