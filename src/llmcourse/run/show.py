"""What `llmcourse run` prints: the plan of all steps, and what came of them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmcourse.core.console import Console
from llmcourse.core.human import human_bytes, human_seconds
from llmcourse.run.figures import sentences
from llmcourse.run.outlook import Outlook, Whole
from llmcourse.run.steps import PUSH

if TYPE_CHECKING:
    from rich.console import RenderableType

    from llmcourse.run.command import Done

_COLOURS = {
    "failed": "red",
    "not started": "yellow",
    "unchanged": "dim",
    "not published": "dim",
    "waits": "yellow",
}


def plan(whole: Whole, console: Console) -> None:
    """Print the plan on stdout: a row for each step, their sum, and all that hinders or warns."""
    if console.is_json:
        console.line(json.dumps(plan_document(whole), indent=2, ensure_ascii=False))
        return
    rows = [_planned(each) for each in whole.outlooks]
    table = _table(("step", "command", "state", "write", "memory", "what"), rows)
    console.drawing(table)
    total = whole.estimate
    cost = sum(each.cost_usd for each in whole.outlooks)
    sums = [f"download {human_bytes(total.download)}", f"write {human_bytes(total.write)}"]
    sums += [
        f"beside it until the end {human_bytes(total.scratch)}",
        f"peak memory {human_bytes(total.memory)}",
    ]
    sums += [f"peak GPU memory {human_bytes(total.vram)}"] if total.vram else []
    sums += [f"rented machines up to ${cost:.2f}"] if cost else []
    known = all(each.is_estimated and each.state != "waits" for each in whole.outlooks)
    console.line(f"{'in all' if known else 'in all, of what is known'}: {', '.join(sums)}")
    for each in whole.outlooks:
        for check in each.checks:
            if check.status != "ok" or check.name == "push":
                _check(f"{each.work.name}: ", check, console)
    for check in whole.checks:
        _check("", check, console)


def _check(prefix: str, check: Any, console: Console) -> None:
    mark = {"ok": "✓", "warn": "!", "fail": "✗"}[check.status]
    console.line(f"{mark} {prefix}{check.name}: {check.what}")
    if check.fix:
        console.line(f"  → {check.fix}")


def plan_document(whole: Whole) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "exit_code": whole.exit_code,
        "estimate": asdict(whole.estimate),
        "cost_usd": sum(each.cost_usd for each in whole.outlooks),
        "checks": [asdict(check) for check in whole.checks],
        "steps": [
            {
                "name": each.work.name,
                "command": each.work.command,
                "state": each.state,
                "combination": dict(each.work.combination),
                "needs": list(each.work.needs),
                "output": str(each.work.output),
                "estimate": asdict(each.estimate),
                "summary": dict(each.summary),
                "checks": [asdict(check) for check in each.checks],
            }
            for each in whole.outlooks
        ],
    }


def result(done: Sequence["Done"], report: Path, console: Console) -> None:
    """Print what came of every step: a table, one JSON document, or the references of the last results."""
    if console.is_json:
        document = {"report": str(report), "steps": [each.as_json() for each in done]}
        console.line(json.dumps(document, indent=2, ensure_ascii=False))
    elif console.is_quiet:
        needed = {name for each in done if each.state != "not published" for name in each.work.needs}
        for each in done:
            if each.reference and each.work.name not in needed:
                console.line(each.reference)
    else:
        console.drawing(_table(("step", "command", "state", "time", "result"), map(_row, done)))
        console.line(f"report: {report}")


def _planned(outlook: Outlook) -> tuple[str, ...]:
    estimate = outlook.estimate
    is_open = outlook.state == "to make" and bool(estimate.write or estimate.memory)
    what = ", ".join(value for _, value in outlook.summary[:2])
    what = what.replace(f"{outlook.work.output.parent}/", "")
    if outlook.state == "waits":
        what = f"planned when {', '.join(outlook.work.needs)} is there"
    size, memory = (human_bytes(number) if is_open else "" for number in (estimate.write, estimate.memory))
    if not outlook.is_estimated:
        size = memory = "unknown"
    return outlook.work.name, outlook.work.command, outlook.state, size, memory, what


def _row(done: "Done") -> tuple[str, ...]:
    lines = [_short(done.reference)] if done.reference else []
    lines += sentences(done.artifact, done.work.name) if done.work.command != PUSH else []
    lines += [done.error.what] if done.error else []
    time = (
        human_seconds(done.seconds) if done.state not in ("not started", "unchanged", "not published") else ""
    )
    return done.work.name, done.work.command, done.state, time, "\n".join(lines)


def _short(reference: str) -> str:
    """A folder as seen from here; a commit by its first digits."""
    if reference.startswith("hf://"):
        place, _, commit = reference.rpartition("@")
        return f"{place}@{commit[:12]}"
    return os.path.relpath(reference)


def _table(headings: Sequence[str], rows: Any) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        cells = [Text(cell, style=_COLOURS.get(cell, "") if at == 2 else "") for at, cell in enumerate(row)]
        table.add_row(*cells)
    return table
