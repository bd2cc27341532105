"""The converter's status lines as steps with progress.

Source: exllamav2 0.3.2, conversion/bot_status.py.
"""

import json
import re

from llmcourse.core.progress import Advanced, Finished, Progress, Started

_STATUS = re.compile(r"\[STATUS\](\{.*\})\[/STATUS\]")
_WHOLE = 100


class Stages:
    """One step for each stage of a call; the time left is that of what was still to do when it began."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._step = ""
        self._began_at = 0.0

    def take(self, line: str) -> bool:
        """Show a line if it is a status; anything else is left to the log."""
        found = _STATUS.search(line)
        if not found:
            return False
        status = json.loads(found[1])
        step = f"{self._name}: {_plain(status['stage'])}"
        completion = min(1.0, float(status["completion"]))
        if step != self._step:
            self.finish()
            self._step, self._began_at = step, completion
            self._progress.emit(Started(step, _WHOLE, "%"))
        left = 1 - self._began_at
        done = (completion - self._began_at) / left if left else 1.0
        self._progress.emit(Advanced(step, round(_WHOLE * done)))
        return True

    def finish(self) -> None:
        if self._step:
            self._progress.emit(Finished(self._step))
        self._step = ""


def _plain(stage: str) -> str:
    """`Tokenizing (1)` -> `tokenizing`: which of the two it is the name of the call says."""
    return re.sub(r" \(\d\)$", "", stage).lower()
