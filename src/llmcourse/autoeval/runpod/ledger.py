"""What a run has rented, kept in the scratch folder: the same command knows its pods again."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.workspace import write_json

_NAME = "runpod.json"


@dataclass
class Record:
    """One pod: of each of its jobs the model and the task of every unit.

    `original` is what a pod that was there already starts when this run is over: `command` and `env`.
    """

    id: str
    name: str
    usd_per_hour: float
    began: float
    hours: float
    card: str
    jobs: list[list[tuple[str, str]]]
    original: dict[str, Any] | None = None


@dataclass
class Ledger:
    """`run` begins every name of this run at RunPod and on the Hub."""

    run: str
    repository: str = ""
    handed_over: bool = False
    pods: list[Record] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        write_json(folder / _NAME, asdict(self))

    def close(self, folder: Path) -> None:
        """All that the pods made, or failed to make, is here: the next run rents pods of its own."""
        self.handed_over = False
        self.save(folder)


def new_ledger() -> Ledger:
    return Ledger(f"llmcourse-{secrets.token_hex(5)}")


def read_ledger(folder: Path) -> Ledger | None:
    """The ledger of an earlier run of the same command, None where there is none."""
    try:
        data: Mapping[str, Any] = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        pods = [
            Record(
                **{**pod, "jobs": [[(str(model), str(task)) for model, task in job] for job in pod["jobs"]]}
            )
            for pod in data["pods"]
        ]
        return Ledger(data["run"], data["repository"], data["handed_over"], pods)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or torn by a kill: the watchdog and the pods themselves see to what was rented
