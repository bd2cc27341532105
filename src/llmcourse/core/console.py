"""The only module that prints. Results go to stdout, everything else to stderr.

Three ways to show progress: bars with time left on a terminal, a plain line now and then elsewhere,
JSON lines for machines.  rich is imported where it is used: `--help` and `-q` do without it.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from llmcourse.core.artifact import Artifact
from llmcourse.core.errors import LlmcourseError, Problems
from llmcourse.core.human import human_bytes as human_bytes
from llmcourse.core.human import human_count as human_count
from llmcourse.core.human import human_seconds as human_seconds
from llmcourse.core.plan import Plan
from llmcourse.core.progress import Advanced, Event, Finished, Note, Started, event_to_json
from llmcourse.core.running_step import RunningStep
from llmcourse.core.terminal import label, print_paragraph, rich_console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.progress import Progress as RichProgress
    from rich.text import Text

ProgressStyle = Literal["auto", "plain", "json", "none"]
_PLAIN_INTERVAL_S = 30
_LOG_LINES_SHOWN = 20
_WIDE = 200
_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@dataclass
class Console:
    """How one command talks to its user."""

    is_json: bool = False
    is_quiet: bool = False
    is_verbose: bool = False
    progress: ProgressStyle = "auto"
    _steps: dict[str, "RunningStep"] = field(default_factory=dict)
    _bars: "RichProgress | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, event: Event) -> None:
        """Show what a run reports; uploads report from a thread of their own."""
        with self._lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        style = self._style()
        if style == "json":
            _write(sys.stderr, json.dumps(event_to_json(event)))
        elif isinstance(event, Note):
            self.note(event.text)
        elif style == "bars":
            self._show_bar(event)
        elif style == "plain":
            self._show_line(event)

    def note(self, text: str) -> None:
        if not self.is_quiet and self.progress != "json":
            print_paragraph(self._bars_console(), text)

    def _style(self) -> str:
        if self.progress != "auto":
            return self.progress
        if self.is_quiet:
            return "none"
        return "bars" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"

    def _show_bar(self, event: Event) -> None:
        bars = self._bars or self._start_bars()
        if isinstance(event, Started):
            task = bars.add_task(event.step, total=event.total, shown="")
            self._steps[event.step] = RunningStep(event, task)
        elif isinstance(event, Advanced):
            step = self._steps[event.step]
            assert step.task is not None
            step.advanced(event.done)
            shown = f"{step.amount(event.done)}{step.time_left()}"
            bars.update(step.task, completed=event.done, shown=shown)
        elif isinstance(event, Finished):
            step = self._steps.pop(event.step)
            assert step.task is not None
            bars.remove_task(step.task)
            print_paragraph(bars.console, step.closing_line())

    def _show_line(self, event: Event) -> None:
        if isinstance(event, Started):
            self._steps[event.step] = RunningStep(event)
            self.note(f"{event.step} …")
        elif isinstance(event, Advanced):
            step = self._steps[event.step]
            step.advanced(event.done)
            if time.monotonic() - step.last_shown >= _PLAIN_INTERVAL_S:
                step.last_shown = time.monotonic()
                self.note(f"{event.step}: {step.amount(event.done)}{step.time_left()}")
        elif isinstance(event, Finished):
            self.note(self._steps.pop(event.step).closing_line())

    def _start_bars(self) -> "RichProgress":
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        self._bars = Progress(*columns, console=rich_console(sys.stderr), transient=True)
        self._bars.start()
        return self._bars

    def _bars_console(self) -> "RichConsole":
        return self._bars.console if self._bars else rich_console(sys.stderr)

    def close(self) -> None:
        """Take the bars away; what follows is the last thing on the screen."""
        if self._bars:
            self._bars.stop()
            self._bars = None

    def plan(self, plan: Plan) -> None:
        """Print the plan on stdout (the result of --dry-run)."""
        self.close()
        if self.is_json:
            _write(sys.stdout, json.dumps(plan.as_json(), indent=2, ensure_ascii=False))
        else:
            self._print_plan(plan)

    def _print_plan(self, plan: Plan) -> None:
        from rich.table import Table
        from rich.text import Text

        out = rich_console(sys.stdout)
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in (*plan.summary, *_estimate_rows(plan)):
            table.add_row(Text(name, style="bold"), Text(value))
        out.print(table)
        for check in plan.checks:
            mark, colour = _MARKS[check.status]
            print_paragraph(out, Text(f"{mark} ", style=colour) + Text(f"{check.name}: {check.what}"))
            if check.fix:
                print_paragraph(out, Text(f"  → {check.fix}", style="dim"), indent=4)

    def result(self, artifact: Artifact) -> None:
        """Print the artifact on stdout: for people, as one JSON document, or as one reference."""
        self.close()
        if self.is_json:
            _write(sys.stdout, json.dumps(artifact.as_json(), indent=2, ensure_ascii=False))
        elif self.is_quiet:
            _write(sys.stdout, artifact.reference)
        else:
            _write(sys.stdout, "\n".join(_result_lines(artifact)))

    def drawing(self, drawing: "RenderableType") -> None:
        """Print what rich draws on stdout; a line that is too long for the terminal is one line still."""
        self.close()
        out = rich_console(sys.stdout)
        out.width = out.width if out.is_terminal else _WIDE  # a file or a pipe has no margin
        out.print(drawing, soft_wrap=True)

    def paragraphs(self, texts: "Iterable[tuple[Text, int]]") -> None:
        """Print texts of a result on stdout, each with the indent of its later lines on a terminal."""
        self.close()
        out = rich_console(sys.stdout)
        for text, indent in texts:
            print_paragraph(out, text, indent)

    def document(self, content: bytes) -> None:
        """Print a whole file on stdout, byte by byte: a picture stays one, whatever the stream's encoding."""
        self.close()
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()

    def line(self, text: str) -> None:
        """Print one line of a result on stdout."""
        self.close()
        _write(sys.stdout, text)

    def handed_over(self, end: LlmcourseError) -> None:
        """Print what goes on without us: its names alone, one JSON document, or both sentences."""
        self.close()
        if self.is_json:
            _write(sys.stdout, json.dumps({"handed_over": end.as_json()}, indent=2, ensure_ascii=False))
        elif self.is_quiet:
            _write(sys.stdout, end.where or "")
        else:
            _write(sys.stdout, f"{end.what}\n{end.fix}")

    def error(self, error: LlmcourseError) -> None:
        """Print what is wrong and what to do, last on stderr; with --json also as the document."""
        self.close()
        if error.log and not self.is_verbose:
            lines = [*_last_lines(error.log), f"(all of it: {error.log})"]
            _write(sys.stderr, "\n".join(f"  | {line}" for line in lines))
        if self.is_verbose and error.__cause__ is not None:
            _write(sys.stderr, "".join(traceback.format_exception(error)).rstrip())
        out = rich_console(sys.stderr)
        for one in error.errors if isinstance(error, Problems) else (error,):
            where = f"{one.where}: " if one.where and one.where not in one.what else ""
            print_paragraph(out, label("error", "red") + f"{where}{one.what}")
            print_paragraph(out, label("fix", "green") + one.fix)
        if self.is_json:
            _write(sys.stdout, json.dumps({"error": error.as_json()}, indent=2, ensure_ascii=False))

    def crash(self, error: BaseException) -> None:
        """A bug of ours: one sentence, and the traceback with -v."""
        self.close()
        if self.is_verbose:
            _write(sys.stderr, "".join(traceback.format_exception(error)).rstrip())
        what = f"llmcourse has a bug: {type(error).__name__}: {error}"
        self.error(LlmcourseError(what, "Run it again with -v and report the traceback it prints."))

    def interrupted(self) -> None:
        self.close()
        end = LlmcourseError("Interrupted.", "The same command goes on from here.")
        _write(sys.stderr, f"{end.what} {end.fix}")
        if self.is_json:
            _write(sys.stdout, json.dumps({"error": end.as_json() | {"exit_code": 130}}, indent=2))


def _estimate_rows(plan: Plan) -> list[tuple[str, str]]:
    estimate = plan.estimate
    rows = [("download", estimate.download), ("write", estimate.write)]
    rows += [("beside it until the end", estimate.scratch)] if estimate.scratch else []
    rows += [("peak memory", estimate.memory)]
    rows += [("peak GPU memory", estimate.vram)] if estimate.vram else []
    return [(name, human_bytes(value) if plan.is_estimated else "unknown") for name, value in rows]


def _result_lines(artifact: Artifact) -> list[str]:
    size = human_bytes(sum(file.size for file in artifact.files))
    state = (
        "was made already"
        if artifact.cached
        else f"made in {human_seconds(sum(artifact.timings_s.values()))}"
    )
    count = "1 file" if len(artifact.files) == 1 else f"{len(artifact.files)} files"
    lines = [f"{artifact.command}: {artifact.path} ({count}, {size}; {state})"]
    if artifact.hub:
        lines.append(f"published: {artifact.hub.url} (commit {artifact.hub.commit[:12]})")
    return lines + [f"{name}: {url}" for name, url in artifact.published.items()]


def _last_lines(log: Path) -> list[str]:
    """The end of a library's log; all of it stays in the file."""
    if not log.is_file():
        return []
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES_SHOWN:]


def _write(stream: IO[str], text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        if stream is not sys.stderr:
            raise
