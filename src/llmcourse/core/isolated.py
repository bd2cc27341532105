"""Run a command's adapter in a process of its own.

The libraries print, start threads, leak memory, and some abort the whole process on bad input; the
out-of-memory killer ends without a word whatever allocates most.  In a child all of that is an event
the parent can explain.  The parent sends one JSON job on stdin and keeps it open: when the parent
dies, however it dies, stdin closes and the child ends too.  Events, finished files and errors come
back as JSON lines on a pipe of their own, so that the library's prints cannot disturb them.  A child
that has done its job waits for another one, so libraries that take seconds to load are loaded once.
"""

import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Protocol

from filelock import FileLock

from llmcourse.core.artifact import OutputFile
from llmcourse.core.errors import BY_NAME, HandedOver, LibraryError, LlmcourseError
from llmcourse.core.progress import Event, Finished, Progress, Started, event_from_json, event_to_json

LOADING = "load libraries"  # torch and what stands on it take seconds


@dataclass(frozen=True)
class Job:
    """What an adapter gets: the config's and the plan's data, where the inputs are, where to write.

    `inputs` maps each model reference, as the config writes it, to a local folder.  `done` are the
    files that an earlier, interrupted run of the same job finished.
    """

    config: dict[str, Any]
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: Path
    scratch: Path
    done: tuple[OutputFile, ...] = ()
    is_question: bool = False  # to be answered while the command plans: nothing is made


class Runner(Protocol):
    """What a command's `run.py` offers: each yield is a file that is whole and need not be made again."""

    def __call__(self, job: Job, progress: Progress) -> Iterator[OutputFile]: ...


class Answerer(Protocol):
    """What `run.py` offers as `answer` where the plan has questions for the libraries."""

    def __call__(self, job: Job, progress: Progress) -> dict[str, Any]: ...


@dataclass
class Worker:
    """The parent's end of a child that has begun to import `module` and waits for its job.

    `loading` names the step that is shown until the module is there, None for what is there at once.
    """

    module: str
    log: IO[bytes]
    is_verbose: bool
    loading: str | None = LOADING
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] = field(init=False)
    _events: IO[str] = field(init=False)
    _has_job: bool = field(init=False, default=False)
    _is_loaded: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        self._events = os.fdopen(read_end, encoding="utf-8")
        output: Any = sys.stderr if self.is_verbose else self.log
        self._process = subprocess.Popen(
            # -P: a torch.py in the current folder, which may be a model's, is none of ours.
            [sys.executable, "-P", "-m", "llmcourse.core.isolated", self.module, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=(write_end,),
            env={**os.environ, **self.environment},
        )
        os.close(write_end)

    def renice(self, niceness: int) -> None:
        """Let other processes go first; for a child that has just been started, whose threads inherit it."""
        if niceness:
            os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)

    def run(self, job: Job) -> Iterator[Event | OutputFile]:
        """Send a job and yield what comes back; after its end another one may be sent.

        Raises:
            LlmcourseError: what the adapter raised, or LibraryError if the child ended without a word.
        """
        for message in self._messages(job):
            if not isinstance(message, dict):
                yield message

    def ask(self, job: Job, show: Callable[[Event], None]) -> dict[str, Any]:
        """The child's answer to a question.

        Raises:
            LlmcourseError: as `run` does.
        """
        answer: dict[str, Any] = {}
        for message in self._messages(replace(job, is_question=True)):
            if isinstance(message, dict):
                answer = message
            elif not isinstance(message, OutputFile):
                show(message)
        return answer

    def _messages(self, job: Job) -> Iterator[Event | OutputFile | dict[str, Any]]:
        self._has_job = True
        if self.loading and not self._is_loaded:
            yield Started(self.loading)
        self._send(job)
        for line in self._events:
            message = json.loads(line)
            if "loaded" in message:
                if self.loading and not self._is_loaded:
                    yield Finished(self.loading)
                self._is_loaded = True
            elif "end" in message:
                return
            elif "error" in message:
                raise _error_from_json(message)
            elif "answer" in message:
                yield message["answer"]
            elif "file" in message:
                yield OutputFile(**message["file"])
            else:
                yield event_from_json(message)
        raise self._died(self._process.wait())

    def _send(self, job: Job) -> None:
        assert self._process.stdin is not None
        # A child that died while it was loading has closed the pipe; its end is reported by `run`.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(_job_to_json(job)).encode() + b"\n")
            self._process.stdin.flush()

    def _died(self, code: int) -> LlmcourseError:
        if code == -signal.SIGKILL:
            return LibraryError(
                "The system killed the run; most likely memory ran out.",
                "Close other programs or use a machine with more memory; the same command goes on from here.",
            )
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return LibraryError(f"The run ended with {name}.", "Read the end of its log above.")

    def stop(self) -> None:
        """End the child: at once if it has no job, else it gets two seconds."""
        if not self._has_job:
            self._process.kill()
        if self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._events.close()


def _job_to_json(job: Job) -> dict[str, Any]:
    done = [file.as_json() | {"state": file.state} for file in job.done]
    return vars(job) | {"files": str(job.files), "scratch": str(job.scratch), "done": done}


def _job_from_json(data: dict[str, Any]) -> Job:
    files = tuple(OutputFile(**item) for item in data["done"])
    return Job(**data | {"files": Path(data["files"]), "scratch": Path(data["scratch"]), "done": files})


def _error_to_json(error: LlmcourseError) -> dict[str, Any]:
    sentences = {"what": error.what, "fix": error.fix, "where": error.where}
    return {"type": type(error).__name__, "error": sentences, "log": str(error.log) if error.log else None}


def _error_from_json(message: dict[str, Any]) -> LlmcourseError:
    kinds: dict[str, type[LlmcourseError]] = {**BY_NAME, HandedOver.__name__: HandedOver}
    error = kinds.get(message["type"], LlmcourseError)(**message["error"])
    error.log = Path(message["log"]) if message["log"] else None
    return error


def _child(module: str, pipe: int) -> int:
    """The child's main: import, then wait for jobs, run them, report."""
    with os.fdopen(pipe, "w", encoding="utf-8", buffering=1) as events:

        def send(message: dict[str, Any]) -> None:
            events.write(json.dumps(message) + "\n")

        jobs = _Jobs()
        adapter = importlib.import_module(module)
        for job in jobs:
            send({"loaded": True})
            # A child of a killed parent may need a moment to notice: two must not write the same files.
            with FileLock(job.scratch.parent / "worker.lock", timeout=60):
                try:
                    _work(adapter, job, send)
                except LlmcourseError as error:
                    send(_error_to_json(error))
                else:
                    send({"end": True})
    return 0


def _work(adapter: Any, job: Job, send: Callable[[dict[str, Any]], None]) -> None:
    progress = Progress(lambda event: send(event_to_json(event)))
    if job.is_question:
        answerer: Answerer = adapter.answer
        send({"answer": answerer(job, progress)})
        return
    runner: Runner = adapter.run
    for file in runner(job, progress):
        send({"file": file.as_json() | {"state": file.state}})


class _Jobs:
    """The jobs that come on stdin; its end is that of the parent, and ends a job that is running.

    It also ends the loading of libraries, which takes half a minute where the disk is slow.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._open = 1  # until what is imported is there
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._open += 1
            self._queue.put(_job_from_json(json.loads(line)))
        if self._open:
            os._exit(1)
        self._queue.put(None)

    def __iter__(self) -> Iterator[Job]:
        self._open -= 1
        while (job := self._queue.get()) is not None:
            yield job
            self._open -= 1


if __name__ == "__main__":
    code = _child(sys.argv[1], int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written and closed; taking torch apart object by object would cost 0.6 s.
    os._exit(code)
