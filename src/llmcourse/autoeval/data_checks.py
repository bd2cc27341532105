"""Whether the data sets of all tasks can be read: asked of the Hub, from metadata alone."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.suite import Suite
from llmcourse.autoeval.suites import suite_of
from llmcourse.core.errors import LlmcourseError, MissingError
from llmcourse.core.human import few, human_bytes
from llmcourse.core.plan import Check, Facts, fail, failure, ok, warn

_KEY = "data sets"
_PUNKT = "tokenizers/punkt_tab"
# What the code of some tasks imports when it is loaded: lm-eval's extras of the same names bring it.
_MODULES = {
    "ifeval": (re.compile(r"(^|_)ifeval"), ("langdetect", "immutabledict", "nltk")),
    "math": (
        re.compile(r"leaderboard_math|minerva_math|hendrycks_math500"),
        ("sympy", "antlr4", "math_verify"),
    ),
}
# Of the library datasets: they read files that the task names, and are no data sets.
_FORMATS = frozenset(
    {"json", "csv", "parquet", "text", "arrow", "pandas", "imagefolder", "audiofolder", "xml"}
)

Wanted = dict[str, list[dict[str, Any]]]  # by data set: the tasks that read it, each with config and split


def look_further(config: Config, answers: Mapping[str, Any] | LlmcourseError) -> dict[str, str]:
    """For Facts.present: what the Hub tells of each data set, and whether nltk's punkt is here, as JSON."""
    if isinstance(answers, LlmcourseError) or config.engine == "runpod":
        return {}
    try:
        suite = suite_of(config)
    except LlmcourseError:
        return {}  # the plan says what is wrong with it
    wanted = wanted_data(suite, answers)
    modules = [module for _, some in _MODULES.values() for module in some]
    absent = [module for module in modules if find_spec(module) is None]
    found: dict[str, Any] = {"sets": {}, "has_punkt": _has_punkt(), "absent": absent}
    if wanted:
        from llmcourse.core import hub

        asked = {name: frozenset(user["config"] for user in users) for name, users in wanted.items()}
        for name, data in hub.look_at(asked).items():
            found["sets"][name] = data.as_json() if isinstance(data, LlmcourseError) else vars(data)
    return {_KEY: json.dumps(found)}


def wanted_data(suite: Suite, answers: Mapping[str, Any]) -> Wanted:
    """Data sets of the Hub that the suite's tasks read; those of local files are not among them."""
    found: Wanted = {}
    for task in {task.name: task for task in suite.tasks()}.values():
        for name, entry in answers.get("leaves", {}).get(task.name, {}).items():
            data = entry.get("dataset")
            if not data or data["path"] in _FORMATS or Path(data["path"]).exists():
                continue
            user = {"task": name, "config": data["name"], "split": _split(data), "whole": task.name}
            found.setdefault(data["path"], []).append(user)
    return found


def _split(data: Mapping[str, Any]) -> str | None:
    """The split that is scored: splits are in the order in which lm-eval prefers them."""
    return str(data["splits"][0]).partition("[")[0] if data["splits"] else None


def data_checks(config: Config, suite: Suite, facts: Facts) -> Iterator[Check]:
    """Pure; what could not be asked for is not told of."""
    looked: Mapping[str, Any] = json.loads(facts.present.get(_KEY, "{}"))
    answers: Mapping[str, Any] = {} if isinstance(facts.answers, LlmcourseError) else facts.answers
    wanted = wanted_data(suite, answers)
    sets: Mapping[str, Any] = looked.get("sets", {})
    problems = [
        problem for name, users in wanted.items() if name in sets for problem in _of(name, sets[name], users)
    ]
    yield from problems
    if wanted and not sets:
        yield warn(
            "data sets", f"The {len(wanted)} data sets are not looked at, since the Hub is not reached."
        )
    elif sets and not problems:
        yield ok("data sets", f"all {len(sets)} can be read, {human_bytes(missing_bytes(facts))} to download")
    yield from _library_checks(_leaf_names(suite, answers), looked.get("absent", []))
    ifeval = sorted(name for name in _leaf_names(suite, answers) if name.endswith("ifeval"))
    if ifeval and not looked.get("has_punkt", True):
        yield warn(
            ifeval[0],
            f"{few(ifeval)} needs nltk's punkt_tab, which is not here: lm-eval fetches it from GitHub.",
            "Where that is not reached: python -m nltk.downloader punkt_tab elsewhere, and set NLTK_DATA.",
        )


def _library_checks(leaves: set[str], absent: list[str]) -> Iterator[Check]:
    """Libraries that only some tasks need, and that are not here."""
    for pattern, modules in _MODULES.values():
        users = sorted(name for name in leaves if pattern.search(name))
        lacking = [module for module in modules if module in absent]
        if users and lacking:
            yield fail(
                lacking[0],
                f"{few(users)} need {', '.join(lacking)}, not installed here.",
                "Run: pip install 'llmcourse[leaderboard]'",
                MissingError.exit_code,
            )


def missing_bytes(facts: Facts) -> int:
    """What is to be downloaded of the data sets."""
    looked: Mapping[str, Any] = json.loads(facts.present.get(_KEY, "{}"))
    return sum(int(data.get("missing_bytes", 0)) for data in looked.get("sets", {}).values())


def _of(name: str, data: Mapping[str, Any], users: list[dict[str, Any]]) -> Iterator[Check]:
    wholes = list(dict.fromkeys(user["whole"] for user in users))
    place = f"data set of {few(wholes)}"
    leave = f"leave {few(wholes)} out"
    if "what" in data:
        error = LlmcourseError(data["what"], f"{data['fix'].rstrip('.')}; or {leave}.")
        error.exit_code = data["exit_code"]
        yield failure(error, place)
        return
    if data["has_script"]:
        yield fail(
            place,
            f"{name} is made by a script of its own, which the library datasets does not run any more.",
            f"Use a task on another data set, or {leave}.",
        )
        return
    configs: Mapping[str, Any] = data["configs"]
    default = data["default"] or (next(iter(configs)) if len(configs) == 1 else "default")
    for config, split in dict.fromkeys((user["config"] or default, user["split"]) for user in users):
        if configs and config not in configs:
            yield fail(
                place,
                f"{name} has no config {config!r}, but {few(list(configs))}.",
                f"Update lm-eval, or {leave}.",
            )
        elif split and configs.get(config) and split not in configs[config]:
            has = ", ".join(configs[config])
            yield fail(
                place,
                f"{name} has no split {split!r} in {config}, but {has}.",
                f"Update lm-eval, or {leave}.",
            )


def _leaf_names(suite: Suite, answers: Mapping[str, Any]) -> set[str]:
    wanted = {task.name for task in suite.tasks()}
    return {leaf for name, below in answers.get("leaves", {}).items() if name in wanted for leaf in below}


def _has_punkt() -> bool:
    """Whether nltk finds it, in the places where it looks (nltk.data, nltk 3.9), without importing it."""
    places = [*os.environ.get("NLTK_DATA", "").split(os.pathsep), str(Path.home() / "nltk_data")]
    places += [f"{sys.prefix}/{part}" for part in ("nltk_data", "share/nltk_data", "lib/nltk_data")]
    places += [
        f"{root}/nltk_data" for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")
    ]
    return any((Path(place) / _PUNKT).is_dir() for place in places if place)
