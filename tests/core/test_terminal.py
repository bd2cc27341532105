"""On a terminal lines end between words, elsewhere they are whole; times are told when they are known."""

import io
import os
import pty
import re
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from rich.console import Console as RichConsole

from llmcourse.core.console import Console
from llmcourse.core.plan import Estimate, Plan
from llmcourse.core.progress import Started
from llmcourse.core.running_step import RunningStep
from llmcourse.core.terminal import print_paragraph
from llmcourse.testing.plugin import Cli


def on_a_terminal(folder: Path, width: int, *words: str) -> list[str]:
    """What the program shows on a terminal of so many columns, as lines without colours."""
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    env |= {"TERM": "xterm", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "llmcourse", *words]
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        said += block
    process.wait()
    os.close(master)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "").splitlines()


PLAN, GONE = ("merge", "m.yaml", "-n"), ("merge", "gone.yaml")


@pytest.mark.parametrize(
    ("width", "words"),
    [(60, ("--help",)), (200, ("--help",)), (60, ("init",)), (120, ("init",)), (60, PLAN), (80, PLAN),
     (60, GONE), (80, ("merge", "--help"))],
)  # fmt: skip
def test_no_line_is_longer_than_the_terminal_and_no_word_is_broken(
    llmcourse: Cli, width: int, words: tuple[str, ...]
) -> None:
    (llmcourse.folder / "m.yaml").write_text(
        "merge_method: linear\ndtype: float32\nmodels: [{model: org/name, parameters: {weight: 1}}]\n"
    )
    lines = on_a_terminal(llmcourse.folder, width, *words)
    whole = llmcourse(*words, env={"HF_HUB_OFFLINE": "1", "COLUMNS": "160"})
    known = set((whole.stdout + whole.stderr).split())
    shown = [word for line in lines for word in line.split()]
    assert shown and not [line for line in lines if re.search(r"\w\.\.\.$", line)]
    long = [line for line in lines if len(line) > width and not line.startswith("  llmcourse ")]
    assert all(len(word) > width // 2 for line in long for word in line.split()[-1:]), long
    if words[0] != "init" and "--help" not in words:
        assert [word for word in shown if word not in known] == []


def test_a_pipe_gets_whole_lines(llmcourse: Cli) -> None:
    listed = llmcourse("init").stdout.splitlines()
    assert len(listed) > 20 and all(re.match(r"[\w-]+ [\w-]+ +\S", line) for line in listed)
    assert all(line.endswith(".") for line in listed), [line for line in listed if not line.endswith(".")]


def test_a_word_that_is_too_long_stays_whole() -> None:
    out = RichConsole(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    print_paragraph(out, "see https://example.org/" + "x" * 60 + " and then\nmore", indent=2)
    assert out.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "see",
        "  https://example.org/" + "x" * 60,
        "  and then",
        "more",
    ]


def test_the_first_item_alone_tells_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    step = RunningStep(Started("tasks", 100))
    now[0] = 600  # it loaded and compiled first
    step.advanced(1)
    assert step.time_left() == ""
    now[0] = 602
    step.advanced(2)
    assert step.time_left() == ", 3 min 16 s left"


def test_a_plan_without_a_readable_model_knows_no_sizes(
    llmcourse: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    Console().plan(Plan("merge", (), (), (), Estimate(), is_estimated=False))
    assert re.findall(r"^(\w[\w ]+?)  +(\w+)", capsys.readouterr().out, re.MULTILINE) == [
        ("download", "unknown"),
        ("write", "unknown"),
        ("peak memory", "unknown"),
    ]
    (llmcourse.folder / "m.yaml").write_text(
        "merge_method: linear\ndtype: float32\nmodels: [{model: ./gone, parameters: {weight: 1}}]\n"
    )
    said = llmcourse("merge", "m.yaml", "-n")
    assert "0 B" not in said.stdout and "unknown" in said.stdout and "✓ disk" not in said.stdout
