"""Events that a run emits; how they are shown is `console.py`'s business.

A step has a total in some unit; it starts, advances and finishes.  Adapters receive a `Progress`
and know no display, so the same adapter works in a terminal, in CI and in a child process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Started:
    """A step begins; `total` is None where it is not known, `unit` is "B" for bytes."""

    step: str
    total: int | None = None
    unit: str = ""


@dataclass(frozen=True)
class Advanced:
    """A step has done `done` of its total so far."""

    step: str
    done: int


@dataclass(frozen=True)
class Finished:
    """A step is over."""

    step: str


@dataclass(frozen=True)
class Note:
    """A sentence the user should see now."""

    text: str


Event = Started | Advanced | Finished | Note
_KINDS: dict[str, type[Event]] = {cls.__name__.lower(): cls for cls in (Started, Advanced, Finished, Note)}


def event_to_json(event: Event) -> dict[str, Any]:
    return {"event": type(event).__name__.lower(), **asdict(event)}


def event_from_json(data: dict[str, Any]) -> Event:
    fields = {key: value for key, value in data.items() if key != "event"}
    return _KINDS[data["event"]](**fields)


# Steps whose name begins so tell that the adapter goes on only when what it made has been published.
WAITING = "wait until uploads make room"


class Step:
    """Handle for one running step."""

    def __init__(self, name: str, emit: Callable[[Event], None]) -> None:
        self._name = name
        self._emit = emit
        self.done = 0

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        self._emit(Advanced(self._name, self.done))


class Progress:
    """What an adapter holds to report how far it is."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit

    @contextmanager
    def step(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Step]:
        """Report a step; it is finished only if the block ends without an exception."""
        self.emit(Started(name, total, unit))
        yield Step(name, self.emit)
        self.emit(Finished(name))

    def note(self, text: str) -> None:
        self.emit(Note(text))


def silent(_: str) -> None:
    """Takes notes that nobody is to see."""
