"""What a suite is: groups of lm-eval tasks, the metric that counts in each, and how they average.

Suites are data, in `suites/*.yaml`; a user's own is a file of the same form.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from llmcourse.autoeval.results import slug
from llmcourse.core.config import ConfigFile, Strict

SINGLE_TASKS = "tasks"  # the name of the suite that a config's `tasks` make
ANY = "*"  # whichever metric the task reports first
# What a leaderboard's rows hold beside the figures of groups.
RESERVED = frozenset({"model", "average", "url", "suite_version", "revision", "dtype", "evaluator"})


class Task(Strict):
    """A task of lm-eval, or of ours in `tasks/`."""

    name: str = Field(description="The task's name in lm-eval.")
    fewshot: int | None = Field(None, ge=0, description="Examples in the prompt; by default the task's own.")
    metric: str | None = Field(
        None, description="The metric that counts, as `acc_norm` or `exact_match,strict-match`."
    )


def _unique(tasks: list[Task]) -> list[Task]:
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]} is there twice in a group | Keep one of them.")
    return tasks


def _group_name(name: str) -> str:
    if not re.fullmatch(r"[^|\x00-\x1f]+", name) or name != name.strip():
        raise ValueError(f"{name!r} cannot stand in a table | Use letters, digits, spaces and signs but |.")
    if name.casefold() in RESERVED:
        raise ValueError(f"{name} is what leaderboards call something else | Give the group another name.")
    return name


class Group(Strict):
    """Tasks that are averaged into one figure of the first table."""

    name: Annotated[str, AfterValidator(_group_name)] = Field(
        description="Its name in the report, as `AGIEval`."
    )
    tasks: Annotated[list[Task], AfterValidator(_unique), Field(min_length=1)]
    metric: list[str] = Field(
        ["acc_norm", "acc"],
        min_length=1,
        description="What counts in its tasks: the first of these that a task has, * being any.",
    )
    average: Literal["mean", "size"] = Field(
        "mean", description="How tasks average: each alike, or by their number of samples."
    )
    scale: float | None = Field(
        None,
        gt=0,
        description="By what a metric is multiplied for the report; by default 100 if it is a share, else 1.",
    )


class Suite(ConfigFile):
    """Groups, and the mean of their figures."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$")
    version: int = Field(1, ge=1, description="Raised when its figures are no longer comparable.")
    groups: Annotated[list[Group], Field(min_length=1)]
    note: str = Field("", description="What the report says of it, as how it differs from another suite.")

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> "Suite":
        """Groups by their names, and tasks by the files of their results."""
        groups = [group.name for group in self.groups]
        twice = sorted({name for name in groups if groups.count(name) > 1})
        if twice:
            raise ValueError(f"The group {twice[0]} is there twice | Keep one of them, or rename it.")
        files: dict[str, str] = {}
        for task in self.tasks():
            other = files.setdefault(slug(task.name).casefold(), task.name)
            if other != task.name:
                raise ValueError(f"{other} and {task.name} are one name to a disk | Keep one of them.")
        return self

    @model_validator(mode="after")
    def _one_result_a_task(self) -> "Suite":
        shots: dict[str, int | None] = {}
        for task in self.tasks():
            if shots.setdefault(task.name, task.fewshot) != task.fewshot:
                raise ValueError(
                    f"{task.name} is there with two numbers of examples | Use one of them, or two suites."
                )
        return self

    def tasks(self) -> Iterator[Task]:
        """All tasks, group by group; one of several groups comes several times."""
        for group in self.groups:
            yield from group.tasks

    @property
    def label(self) -> str:
        """As people cite it: nous@2."""
        return f"{self.name}@{self.version}"
