"""Figures of other results, which are drawn beside these: read while the command plans, and for the plot."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.core.errors import LlmcourseError, PlanError
from llmcourse.core.plan import Check, Facts, fail, failure

_KEY = "references"
_MOST_BYTES = 50_000_000  # a result of a thousand models on a thousand tasks has less

Figures = dict[str, dict[str, float]]  # percentages by model and group


def look_up(config: Config) -> dict[str, str]:
    """For Facts.present: what is wrong with each reference, by its name as written, "" where nothing is."""
    problems = {name: _problem(path) for name, path in config.reference_files().items() if path.is_file()}
    return {_KEY: json.dumps(problems)} if problems else {}


def reference_checks(config: Config, facts: Facts) -> Iterator[Check]:
    """Whether each reference can be read and holds figures; pure."""
    problems: Mapping[str, str] = json.loads(facts.present.get(_KEY, "{}"))
    for name in config.reference_files():
        found = facts.files.get(name)
        if isinstance(found, LlmcourseError):
            yield failure(found, f"reference {name}")
        elif problems.get(name):
            yield fail(f"reference {name}", problems[name], _FIX)


_FIX = "Name the folder of a result of llmcourse autoeval."


def _problem(path: Path) -> str:
    try:
        read_reference(path)
    except PlanError as error:
        return error.what
    return ""


def read_reference(path: Path) -> Figures:
    """The figures of each model of a results.json.

    Raises:
        PlanError: it is none.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large for one")
        return _figures(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PlanError(f"{path} cannot be read ({error.strerror}).", _FIX, str(path)) from None
    except (ValueError, RecursionError) as error:
        told = str(error).splitlines()[0].rstrip(".") or type(error).__name__
        raise PlanError(f"{path} holds no figures of autoeval ({told}).", _FIX, str(path)) from None


def _figures(data: Any) -> Figures:
    found: Figures = {}
    for model, own in _mapping(_mapping(data, "it").get("models"), "models").items():
        groups = _mapping(_mapping(own, model).get("groups"), f"groups of {model}")
        values = {name: _mapping(group, name).get("value") for name, group in groups.items()}
        for name, value in values.items():
            is_number = (
                isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            )
            if value is not None and not is_number:
                raise ValueError(f"the value of {name} of {model} is no number")
        found[model] = {name: float(value) for name, value in values.items() if value is not None}
    return found


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} {'are' if what.startswith(('models', 'groups')) else 'is'} no mapping")
    return value


def beside(own: Mapping[str, Mapping[str, float]], others: Mapping[str, Figures]) -> Figures:
    """Own figures, then those of references by their folders; of one name each keeps a name of its own."""
    found: Figures = {model: dict(values) for model, values in own.items()}
    for folder, figures in others.items():
        for model, values in figures.items():
            name, number = model, 1
            while name in found:
                more = f", {number}" if number > 1 else ""
                name, number = f"{model} ({Path(folder).name or 'reference'}{more})", number + 1
            found[name] = dict(values)
    return found
