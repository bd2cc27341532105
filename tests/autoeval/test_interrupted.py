"""What Ctrl-C says of rented pods: that none is left, or who goes on ending them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.interrupted import after
from llmcourse.autoeval.runpod.watchdog import record_of
from llmcourse.core.progress import Event, Note, Progress

REPORT: dict[str, Any] = {"ended": ["pod1"], "left": [], "problem": ""}


def said(folder: Path, report: dict[str, Any] | None, process: int) -> list[str]:
    record_of(folder).write_text(json.dumps({"process": process, "prefix": "llmcourse-0", "report": report}))
    notes: list[Event] = []
    after(folder, Progress(notes.append), 0.3)
    return [note.text for note in notes if isinstance(note, Note)][1:]


@pytest.fixture
def gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_where_nothing_was_rented_nothing_is_said(tmp_path: Path) -> None:
    notes: list[Event] = []
    after(tmp_path, Progress(notes.append))
    assert notes == []


def test_the_report_of_the_process_that_ends_pods_is_told(tmp_path: Path, gone: int) -> None:
    assert said(tmp_path, REPORT, gone) == ["0 pods left of those that this run has rented (pod1 ended)."]
    (line,) = said(tmp_path, REPORT | {"problem": "no answer"}, gone)
    assert "not certain" in line and "no answer" in line and "names that begin with llmcourse-0" in line
    assert said(tmp_path, REPORT | {"handed_over": True}, gone)[0].startswith(
        "Pods of this run work by themselves"
    )


def test_one_that_takes_long_is_named_and_one_that_died_is_not_waited_for(tmp_path: Path, gone: int) -> None:
    (line,) = said(tmp_path, None, os.getpid())
    assert (
        line.startswith(f"! Process {os.getpid()} goes on ending pods") and "begin with llmcourse-0" in line
    )
    begin = time.monotonic()
    (line,) = said(tmp_path, None, gone)
    assert "has ended itself without a word" in line and time.monotonic() - begin < 0.25
