"""The suites that come with the package, and how one is read."""

import difflib
from pathlib import Path

from pydantic import ValidationError

from llmcourse.autoeval.config import Config
from llmcourse.autoeval.suite import ANY, SINGLE_TASKS, Group, Suite, Task
from llmcourse.core.config_errors import config_errors
from llmcourse.core.documents import read_documents
from llmcourse.core.errors import ConfigError, Problems

_FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def suite_of(config: Config) -> Suite:
    """The suite of a config; see read_suite."""
    return read_suite(config.suite, config.tasks)


def read_suite(name: str | None, tasks: list[Task] | None) -> Suite:
    """The suite of a config: one of ours by its name, a file, or single tasks, each a group of its own.

    Raises:
        ConfigError: there is none of that name, or the file is no suite.
        Problems: the file is wrong in several places.
    """
    if name is None:
        names = [task.name for task in tasks or []]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{twice[0]} is there twice in tasks.", "Keep one of them.", "tasks")
        return Suite(name=SINGLE_TASKS, groups=[_alone(task) for task in tasks or []])
    if name.endswith((".yaml", ".yml")):
        return _read(name)
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        like = f"Did you mean {near[0]}? " if near else ""
        raise ConfigError(
            f"There is no suite {name!r}.", f"{like}Use {', '.join(NAMES)}, or a suite file (.yaml).", "suite"
        )
    return _read(str(_FOLDER / f"{name}.yaml"))


def _alone(task: Task) -> Group:
    return Group(name=task.name, tasks=[task], metric=["acc_norm", "acc", "exact_match", ANY])


def _read(path: str) -> Suite:
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(f"{path} holds {len(documents)} YAML documents.", "Keep one, a suite.", path)
    try:
        return Suite.model_validate(documents[0].data)
    except ValidationError as error:
        errors = config_errors(error, documents[0], Suite)
        raise errors[0] if len(errors) == 1 else Problems(errors) from None
