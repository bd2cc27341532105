"""What Ctrl-C leaves: rented pods, which a process of their own ends. Its report is waited for and told."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmcourse.autoeval.runpod.watchdog import record_of
from llmcourse.core.progress import Progress

_PATIENCE_S = 30.0


def after(scratch: Path, progress: Progress, patience_s: float = _PATIENCE_S) -> None:
    """Say that no pod is left, or who goes on ending them; nothing where none was rented."""
    if _read(scratch) is None:
        return
    progress.note("Pods of this run are ended; this takes some seconds (Ctrl-C again does not wait for it).")
    until = time.monotonic() + patience_s
    while (said := _read(scratch)) and said["report"] is None and time.monotonic() < until:
        if not _is_there(said["process"]):
            break
        time.sleep(0.1)
    if said:
        progress.note(_sentence(said))


def _sentence(said: dict[str, Any]) -> str:
    report, prefix = said["report"], said["prefix"]
    look = f"look in RunPod's console for names that begin with {prefix}"
    if report is None and _is_there(said["process"]):
        return f"! Process {said['process']} goes on ending pods of this run; {look}."
    if report is None:
        return f"! The process that ends pods has ended itself without a word; {look}, and end them."
    if report.get("handed_over"):
        return "Pods of this run work by themselves; the same command collects the results."
    if report["left"] or report["problem"]:
        named = report["problem"] or ", ".join(report["left"])
        return f"! It is not certain that all pods have ended ({named}); {look}, and end them."
    ended = f" ({', '.join(report['ended'])} ended)" if report["ended"] else ""
    return f"0 pods left of those that this run has rented{ended}."


def _read(scratch: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        said: dict[str, Any] = json.loads(record_of(scratch).read_text(encoding="utf-8"))
        return said
    return None


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
