"""How fast this machine was at a command's work before, so that a plan can say how long the next takes."""

import json
from collections.abc import Mapping
from pathlib import Path

from llmcourse.core.cache import cache_folder
from llmcourse.core.workspace import write_json


def read_rates(command: str) -> dict[str, float]:
    """Rates by name, in the unit that the command gave them; empty where nothing was measured yet."""
    try:
        found = json.loads(_place(command).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # absent, or torn by a kill: then it is measured again
    return {str(name): float(rate) for name, rate in found.items()} if isinstance(found, dict) else {}


def record_rates(command: str, rates: Mapping[str, float]) -> None:
    """Remember rates beside those of other names."""
    _place(command).parent.mkdir(parents=True, exist_ok=True)
    write_json(_place(command), read_rates(command) | dict(rates))


def _place(command: str) -> Path:
    return cache_folder() / "rates" / f"{command}.json"
