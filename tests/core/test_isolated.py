"""Adapters in a child process: whatever the child does, the parent has a sentence for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from textwrap import dedent, indent

import pytest

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.progress import Advanced, Event, Finished, Note, Started

Messages = Generator[Event | OutputFile, None, None]
Run = Callable[[str], Messages]

LOADING = (Started("load libraries"), Finished("load libraries"))
RUNNER = """
import os, signal, sys, time
from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import PlanError

def run(job, progress):
"""


def with_path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    files, scratch = tmp_path / "staging" / "files", tmp_path / "staging" / "scratch"
    files.mkdir(parents=True)
    scratch.mkdir()
    done = (OutputFile("old.bin", 1, "0" * 64, {"random_state": "abc"}),)
    return Job({"dtype": "bfloat16"}, {"seed": 1}, {"org/a": "/models/a"}, files, scratch, done)


@pytest.fixture
def run(tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a function body as an adapter; its log is run.log."""
    monkeypatch.setenv("PYTHONPATH", with_path(tmp_path))

    def run(body: str) -> Messages:
        (tmp_path / "tiny_runner.py").write_text(RUNNER + indent(dedent(body), "    "))
        with (tmp_path / "run.log").open("ab") as log:
            worker = Worker("tiny_runner", log, is_verbose=False)
            try:
                yield from (message for message in worker.run(job) if message not in LOADING)
            finally:
                worker.stop()

    return run


def test_events_and_files_arrive_in_order(run: Run) -> None:
    messages = list(
        run("""
        with progress.step("merge", 2, "tensors") as step:
            step.advance(2)
        progress.note("nearly")
        (job.files / "new.bin").write_text("abc")
        yield OutputFile.of(job.files, "new.bin", {"random_state": "x"})
        """)
    )
    file = messages.pop()
    assert messages == [
        Started("merge", 2, "tensors"),
        Advanced("merge", 2),
        Finished("merge"),
        Note("nearly"),
    ]
    assert isinstance(file, OutputFile)
    assert (file.path, file.size, file.state) == ("new.bin", 3, {"random_state": "x"})


def test_the_job_arrives_as_it_was_given(run: Run, job: Job) -> None:
    [note] = run("progress.note(repr(job))\nyield from ()")
    assert note == Note(repr(job))


def test_what_a_library_prints_goes_to_the_log_alone(run: Run, tmp_path: Path) -> None:
    messages = list(run('print("noise")\nos.write(2, b"more noise")\nprogress.note("signal")\nyield from ()'))
    assert messages == [Note("signal")]
    assert "more noise" in (tmp_path / "run.log").read_text()


def test_an_error_of_ours_arrives_as_itself(run: Run) -> None:
    with pytest.raises(PlanError) as caught:
        list(run('raise PlanError("No room.", "Make room.", "here")\nyield'))
    assert (caught.value.what, caught.value.fix, caught.value.where) == ("No room.", "Make room.", "here")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "The system killed the run; most likely memory ran out."),
        ("os.abort()", "The run ended with SIGABRT."),
        ("sys.exit(3)", "The run ended with exit code 3."),
        ("sys.exit(0)", "The run ended with exit code 0."),
        ("os._exit(7)", "The run ended with exit code 7."),
        ("1 / 0", "The run ended with exit code 1."),
    ],
)
def test_a_child_that_ends_without_a_word_is_explained(run: Run, body: str, what: str) -> None:
    with pytest.raises(LibraryError) as caught:
        list(run(f"{body}\nyield"))
    assert caught.value.what == what
    assert caught.value.fix


def test_a_child_that_died_while_loading_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", with_path(tmp_path))
    (tmp_path / "broken_runner.py").write_text("raise ImportError('torch is broken')")
    with (tmp_path / "run.log").open("ab") as log:
        worker = Worker("broken_runner", log, is_verbose=False)
        time.sleep(1)
        with pytest.raises(LibraryError):
            list(worker.run(Job({"x": "y" * 200_000}, {}, {}, tmp_path, tmp_path)))
        worker.stop()


def test_files_finished_before_the_end_arrive(run: Run) -> None:
    messages = run("""
    (job.files / "a.bin").write_text("a")
    yield OutputFile.of(job.files, "a.bin")
    os.kill(os.getpid(), signal.SIGKILL)
    """)
    first = next(messages)
    assert isinstance(first, OutputFile)
    assert first.path == "a.bin"
    with pytest.raises(LibraryError):
        next(messages)


def test_an_adapter_that_cannot_be_imported_leaves_its_traceback_in_the_log(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LibraryError) as caught:
        list(run("this is no Python"))
    assert caught.value.what == "The run ended with exit code 1."
    assert caught.value.fix == "Read the end of its log above."
    assert "SyntaxError" in (tmp_path / "run.log").read_text()


def test_an_interrupt_of_the_child_is_an_interrupt(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(run("signal.signal(signal.SIGINT, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGINT)\nyield"))


def test_a_child_that_is_stopped_ends_within_seconds(run: Run) -> None:
    with closing(run("progress.note(str(os.getpid()))\ntime.sleep(100)\nyield")) as messages:
        note = next(messages)
        assert isinstance(note, Note)
    assert is_gone(int(note.text), within_s=1)


def is_gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.05)
    return False


PARENT = """
import sys
from pathlib import Path
from llmcourse.core.isolated import Job, Worker
folder = Path(sys.argv[1])
(folder / "files").mkdir(); (folder / "scratch").mkdir()
job = Job({}, {}, {}, folder / "files", folder / "scratch")
with (folder / "log").open("wb") as log:
    for message in Worker("tiny_runner", log, False).run(job):
        if hasattr(message, "text"):
            print(message.text, flush=True)
"""


def test_the_child_of_a_killed_parent_ends_too(tmp_path: Path) -> None:
    (tmp_path / "tiny_runner.py").write_text(
        RUNNER + "    progress.note(str(os.getpid()))\n    time.sleep(100)\n    yield\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": with_path(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert is_gone(child, within_s=5)


def test_the_child_of_a_killed_parent_ends_while_it_loads(tmp_path: Path) -> None:
    loading = "import os, time\nfrom pathlib import Path\nnote = Path(__file__).with_name('pid')\n"
    (tmp_path / "tiny_runner.py").write_text(
        f"{loading}note.with_suffix('.new').write_text(str(os.getpid()))\n"
        "note.with_suffix('.new').rename(note)\ntime.sleep(100)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], env=os.environ | {"PYTHONPATH": with_path(tmp_path)}
    )
    with parent:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
    assert is_gone(int((tmp_path / "pid").read_text()), within_s=5)


def test_a_child_takes_one_job_after_another_and_loads_once(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", with_path(tmp_path))
    body = 'progress.note(str(os.getpid()))\nraise PlanError("no", "never")\nyield'
    (tmp_path / "tiny_runner.py").write_text(RUNNER + indent(body, "    "))
    seen: list[Event | OutputFile] = []
    with (tmp_path / "run.log").open("ab") as log:
        worker = Worker("tiny_runner", log, is_verbose=False)
        for _ in range(2):
            with pytest.raises(PlanError):
                for message in worker.run(job):
                    seen.append(message)
        worker.stop()
    processes = [message.text for message in seen if isinstance(message, Note)]
    assert len(processes) == 2
    assert len(set(processes)) == 1
    assert seen.count(Started("load libraries")) == 1
