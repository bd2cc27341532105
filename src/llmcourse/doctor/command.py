"""The steps of `llmcourse doctor`: look, tell, and an exit code for those who ask about one command."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from llmcourse.core.console import Console
from llmcourse.core.errors import MissingError
from llmcourse.doctor.looking import Finding, look

if TYPE_CHECKING:
    from rich.text import Text

_MARKS = {"ok": ("✓", "green"), "missing": ("!", "yellow"), "broken": ("✗", "red")}


def execute(command: str | None, commands: Sequence[str], console: Console) -> int:
    """Tell everything; 0 where nothing hinders what was asked about, else 3.

    Asked about one command, what that needs and lacks hinders; asked about all, only what is broken does,
    since nobody needs every extra.
    """
    found = list(look(tuple(commands) if command is None else (command,)))
    hindering = [each for each in found if _hinders(each, command)]
    if console.is_json:
        document = {"can_run": not hindering, "findings": [asdict(each) for each in found]}
        console.line(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        console.paragraphs(_told(found))
    return MissingError.exit_code if hindering else 0


def _hinders(finding: Finding, command: str | None) -> bool:
    if finding.state == "broken":
        return True
    return command is not None and finding.state == "missing" and finding.command == command


def _told(found: Sequence[Finding]) -> Iterator[tuple["Text", int]]:
    """Lines, with the indent of what does not fit into one."""
    from rich.text import Text

    for each in found:
        mark, colour = _MARKS[each.state]
        yield Text(f"{mark} ", style=colour) + Text(f"{each.name}: {each.what}"), 2
        if each.fix:
            yield Text(f"    → {each.fix}", style="dim"), 6
