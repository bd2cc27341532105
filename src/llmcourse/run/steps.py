"""From what a pipeline says to the list of what is done: the matrix unfolded, references resolved."""

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.errors import ConfigError
from llmcourse.run.config import Config, Step, Value

FAMILY_TREE, PUSH = "family-tree", "push"
MAKERS = ("merge", "quantize-gguf", "quantize-gptq", "quantize-exl2", "autoeval")
COMMANDS = (*MAKERS, FAMILY_TREE, PUSH)
_REFERENCE = re.compile(r"\$\{\s*([^{}\s]+)\s*\}")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_ALL = ".*"
_MATRIX = "matrix."
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

    def _check(self, name: str, step: Step) -> None:
        if not _NAME.fullmatch(name) or name in ("matrix", "report.html"):
            raise ConfigError(
                f"{name!r} cannot be the name of a step.",
                "Use letters, digits, - and _; it names a folder.",
                self.where(("steps", name)),
            )
        command = step.command or name
        if command not in COMMANDS:
            near = difflib.get_close_matches(command, COMMANDS, 1)
            fix = f"Did you mean {near[0]!r}?" if near else f"Use {', '.join(COMMANDS)}."
            if step.command is None and not near:
                fix = f"Say command: beside it, one of {', '.join(COMMANDS)}."
            place = ("steps", name, "command") if step.command else ("steps", name)
            raise ConfigError(f"{command!r} is no command of a pipeline.", fix, self.where(place))

    def _named(self, name: str, step: Step) -> Iterator[tuple[tuple[str, ...], str]]:
        """Every reference in a step, with where it stands."""
        place = ("steps", name)
        texts = [(("config",), step.config), (("push",), step.push), (("revision",), step.revision)]
        for location, text in [*texts, *_texts(step.with_, ("with",))]:
            for reference in _REFERENCE.findall(text or ""):
                self._check_reference(reference, (*place, *location))
                yield (*place, *location), reference

    def _check_reference(self, reference: str, place: tuple[str, ...]) -> None:
        if reference.startswith(_MATRIX):
            known, asked = list(self.pipeline.matrix), reference.removeprefix(_MATRIX)
            what = f"The matrix has no {asked!r}."
        else:
            known, asked = list(self.pipeline.steps), reference.removesuffix(_ALL)
            what = f"There is no step {asked!r}."
        if asked not in known:
            near = difflib.get_close_matches(asked, known, 1)
            fix = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known) or 'none'}."
            raise ConfigError(what, fix, self.where(place))
        if not reference.startswith(_MATRIX):
            self._check_is_maker(asked, place)

    def _check_is_maker(self, name: str, place: tuple[str, ...]) -> None:
        command = self.pipeline.steps[name].command or name
        if command not in MAKERS:
            raise ConfigError(
                f"{name} makes nothing that another step could read.",
                f"Name the step whose result {command} works on.",
                self.where(place),
            )

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
                step.command or name,
                self.output / self._name(name, chosen),
                self.folder / Path(str(config)).expanduser() if config else None,
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
        return "-".join([step, *(re.sub(r"[^\w.]+", "-", str(value)).strip("-.") or "-" for value in values)])

    def _replaced(self, value: Any, chosen: Mapping[str, Value], needs: dict[str, None]) -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(item, chosen, needs) for key, item in value.items()}
        if isinstance(value, list):
            items = [self._replaced(item, chosen, needs) for item in value]
            return [each for item in items for each in (item if isinstance(item, _Several) else [item])]
        if not isinstance(value, str):
            return value
        alone = _REFERENCE.fullmatch(value.strip())
        if alone:
            return self._value(alone[1], chosen, needs)
        return _REFERENCE.sub(lambda found: str(self._value(found[1], chosen, needs)), value)

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


def _texts(value: Any, location: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*location, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*location, index))  # type: ignore[arg-type]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _refuse_shared_places(found: list[Work], where: Callable[..., str | None]) -> None:
    seen: dict[str, Work] = {}
    for work in found:
        place = str(work.output).lower()  # some disks know no letter case
        if place in seen:
            raise ConfigError(
                f"{seen[place].name} and {work.name} would both write to one folder.",
                "Name one of them otherwise; in a matrix, with ${matrix.…} in the name.",
                where(("steps", work.step)),
            )
        seen[place] = work
