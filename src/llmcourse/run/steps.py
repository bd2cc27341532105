"""From what a pipeline says to the list of what is done: the matrix unfolded, references resolved."""

import difflib
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.documents import Location
from llmcourse.core.errors import ConfigError, unknown_name
from llmcourse.core.model import expanded
from llmcourse.run.config import Config, Step, Value

FAMILY_TREE, PUSH = "family-tree", "push"
MAKERS = ("merge", "quantize-gguf", "quantize-gptq", "quantize-exl2", "autoeval")
COMMANDS = (*MAKERS, FAMILY_TREE, PUSH)
REFERENCE = re.compile(r"\$\{\s*([^{}\s]+)\s*\}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_ALL = ".*"
_MATRIX = "matrix."
_LONGEST_NAME = 120  # bytes; a file system takes 255, and names of temporary folders are longer
# What else a step may say of itself, by its command; all others take everything.
_TAKES = {PUSH: {"command", "with_"}, FAMILY_TREE: {"command", "with_", "config"}}
Combination = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Work:
    """A step for one combination of the matrix: its name, its command, and where its result goes.

    `settings` are the keys that the pipeline gives it, references replaced by folders; `place` is where they
    are written, for errors.  `needs` are the names of the works whose results it reads.
    """

    name: str
    step: str
    command: str
    output: Path
    config: Path | None
    settings: Mapping[str, Any]
    place: tuple[str, ...]
    needs: tuple[str, ...] = ()
    push: str | None = None
    private: bool = False
    revision: str | None = None
    combination: Mapping[str, Value] = field(default_factory=dict)


def works(pipeline: Config, folder: Path, output: Path, where: Callable[..., str | None]) -> list[Work]:
    """All that is to be done, each after what it needs; `folder` holds the pipeline's file.

    Raises:
        ConfigError: a command, a step or a value of the matrix that there is not, steps in a circle, two
            that would write to one place.
    """
    unfolding = _Unfolding(pipeline, folder, output, where)
    found = [work for name in unfolding.ordered() for work in unfolding.works_of(name)]
    _refuse_shared_places(found, where)
    return found


class _Unfolding:
    def __init__(
        self, pipeline: Config, folder: Path, output: Path, where: Callable[..., str | None]
    ) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.output = output
        self.where = where
        for name, step in pipeline.steps.items():
            self._check(name, step)
        self.named = {name: list(self._named(name, step)) for name, step in pipeline.steps.items()}
        used = {reference for found in self.named.values() for _, reference in found}
        for axis in pipeline.matrix:
            if f"{_MATRIX}{axis}" not in used:
                raise ConfigError(
                    f"No step uses the matrix's {axis!r}.",
                    f"Write ${{matrix.{axis}}} in one, or take it out.",
                    where(("matrix", axis)),
                )

    def _check(self, name: str, step: Step) -> None:
        if not _NAME.fullmatch(name) or name in ("matrix", "report.html"):
            raise ConfigError(
                f"{name!r} cannot be the name of a step.",
                "Use letters, digits, - and _; it names a folder.",
                self.where(("steps", name)),
            )
        command = self._command(name)
        if command not in COMMANDS:
            near = difflib.get_close_matches(command, COMMANDS, 1)
            fix = f"Did you mean {near[0]!r}?" if near else f"Use {', '.join(COMMANDS)}."
            if step.command is None and not near:
                fix = f"Say command: beside it, one of {', '.join(COMMANDS)}."
            place = ("steps", name, "command") if step.command else ("steps", name)
            raise ConfigError(f"{command!r} is no command of a pipeline.", fix, self.where(place))
        self._check_keys(name, command, step)

    def _check_keys(self, name: str, command: str, step: Step) -> None:
        """A wish that would not be fulfilled is refused."""
        for key in sorted(step.model_fields_set - _TAKES.get(command, step.model_fields_set)):
            raise ConfigError(
                f"{name} is a step with the command {command}, which takes no {key}:.",
                "Write all that it is to do under with:.",
                self.where(("steps", name, key)),
            )
        if "output" in step.with_:
            raise ConfigError(
                f"{name} says where its result goes, which the pipeline does.",
                "Leave output out.",
                self.where(("steps", name, "with", "output")),
            )
        if not step.config and not step.with_:
            raise ConfigError(
                f"{name} has neither a config nor keys of one.",
                "Add config: FILE, or the keys under with:.",
                self.where(("steps", name)),
            )

    def _named(self, name: str, step: Step) -> Iterator[tuple[Location, str]]:
        """Every reference in a step, with where it stands."""
        place: Location = ("steps", name)
        texts = [(("config",), step.config), (("push",), step.push), (("revision",), step.revision)]
        for (key,), text in texts:
            if any(not found.startswith(_MATRIX) for found in REFERENCE.findall(text or "")):
                raise ConfigError(
                    f"{key} takes values of the matrix, and no results of steps.",
                    "Write ${matrix.…}, or the name itself.",
                    self.where((*place, key)),
                )
        for location, text in [*texts, *texts_of(step.with_, ("with",))]:
            for reference in REFERENCE.findall(text or ""):
                self._check_reference(reference, (*place, *location))
                yield (*place, *location), reference

    def _check_reference(self, reference: str, place: Location) -> None:
        if reference.startswith(_MATRIX):
            kind, known = "axis of the matrix", list(self.pipeline.matrix)
            asked = reference.removeprefix(_MATRIX)
        else:
            kind, known = "step", list(self.pipeline.steps)
            asked = reference.removesuffix(_ALL)
        if asked not in known:
            raise unknown_name(kind, asked, known, self.where(place))
        if not reference.startswith(_MATRIX) and self._command(asked) not in MAKERS:
            raise ConfigError(
                f"{asked} makes nothing that another step could read.",
                f"Name the step whose result {self._command(asked)} works on.",
                self.where(place),
            )

    def _command(self, name: str) -> str:
        return self.pipeline.steps[name].command or name

    def needed(self, name: str) -> list[str]:
        """The steps whose results a step reads."""
        references = [reference for _, reference in self.named[name] if not reference.startswith(_MATRIX)]
        return list(dict.fromkeys(reference.removesuffix(_ALL) for reference in references))

    def ordered(self) -> list[str]:
        """Names of steps, each after those it needs, else as they are written."""
        waiting, done = list(self.pipeline.steps), list[str]()
        while waiting:
            ready = next((name for name in waiting if set(self.needed(name)) <= set(done)), None)
            if ready is None:
                raise ConfigError(
                    f"The steps {', '.join(waiting)} need each other in a circle.",
                    "Take one of the references out.",
                    self.where(("steps", waiting[0])),
                )
            waiting.remove(ready)
            done.append(ready)
        return done

    def axes(self, name: str) -> list[str]:
        """The axes of the matrix that a step is repeated over: its own, and of those it reads."""
        used = set()
        for _, reference in self.named[name]:
            if reference.startswith(_MATRIX):
                used.add(reference.removeprefix(_MATRIX))
            elif not reference.endswith(_ALL):
                used |= set(self.axes(reference))
        return [axis for axis in self.pipeline.matrix if axis in used]

    def combinations(self, name: str) -> list[Combination]:
        axes = self.axes(name)
        values = [self.pipeline.matrix[axis] for axis in axes]
        return [tuple(zip(axes, chosen, strict=True)) for chosen in itertools.product(*values)]

    def works_of(self, name: str) -> Iterator[Work]:
        step = self.pipeline.steps[name]
        for combination in self.combinations(name):
            chosen = dict(combination)
            needs: dict[str, None] = {}

            def replaced(
                value: Any, chosen: dict[str, Value] = chosen, needs: dict[str, None] = needs
            ) -> Any:
                return self._replaced(value, chosen, needs)

            config = replaced(step.config)
            yield Work(
                self._name(name, chosen),
                name,
                self._command(name),
                self.output / self._name(name, chosen),
                self.folder / expanded(str(config)) if config else None,
                replaced(step.with_),
                ("steps", name, "with"),
                push=_text(replaced(step.push)),
                private=step.private,
                revision=_text(replaced(step.revision)),
                combination=chosen,
                needs=tuple(needs),
            )

    def _name(self, step: str, chosen: Mapping[str, Value]) -> str:
        """A step's name, and the values of its axes, fit for a folder."""
        values = [chosen[axis] for axis in self.axes(step)]
        parts = [re.sub(r"[^\w.]+", "-", str(value)).strip("-.") or "-" for value in values]
        name = "-".join([step, *parts])
        if len(name.encode()) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(repr([step, *values]).encode()).hexdigest()[:8]
        return f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{digest}"

    def _replaced(self, value: Any, chosen: Mapping[str, Value], needs: dict[str, None]) -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(item, chosen, needs) for key, item in value.items()}
        if isinstance(value, list):
            items = [self._replaced(item, chosen, needs) for item in value]
            return [each for item in items for each in (item if isinstance(item, _Several) else [item])]
        if not isinstance(value, str):
            return value
        alone = REFERENCE.fullmatch(value.strip())
        if alone:
            return self._value(alone[1], chosen, needs)
        return REFERENCE.sub(lambda found: self._text(found[1], chosen, needs), value)

    def _text(self, reference: str, chosen: Mapping[str, Value], needs: dict[str, None]) -> str:
        """A reference within a text."""
        found = self._value(reference, chosen, needs)
        if isinstance(found, _Several):
            raise ConfigError(
                f"${{{reference}}} stands for several folders, and not in a text.",
                "Write it alone, as an item of a list.",
                self.where(("steps",)),
            )
        return str(found)

    def _value(self, reference: str, chosen: Mapping[str, Value], needs: dict[str, None]) -> Any:
        if reference.startswith(_MATRIX):
            return chosen[reference.removeprefix(_MATRIX)]
        if reference.endswith(_ALL):
            step = reference.removesuffix(_ALL)
            names = [self._name(step, dict(combination)) for combination in self.combinations(step)]
            needs.update(dict.fromkeys(names))
            return _Several(str(self.output / name) for name in names)
        name = self._name(reference, chosen)
        needs[name] = None
        return str(self.output / name)


class _Several(list[str]):
    """Folders of all results of a step, which become items of the list that they stand in."""


def texts_of(value: Any, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Every text in a value, with where it stands."""
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_of(item, (*location, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_of(item, (*location, index))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _refuse_shared_places(found: list[Work], where: Callable[..., str | None]) -> None:
    seen: dict[str, Work] = {}
    for work in found:
        place = str(work.output).lower()  # some disks know no letter case
        if place in seen:
            is_same = seen[place].step == work.step
            fix = "Choose values of the matrix" if is_same else "Choose names of steps"
            raise ConfigError(
                f"{seen[place].name} and {work.name} would both write to one folder.",
                f"{fix} that differ in letters or digits.",
                where(("matrix",) if is_same else ("steps", work.step)),
            )
        seen[place] = work
