"""What is known of the works of a pipeline before anything is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from llmcourse.core.artifact import Artifact
from llmcourse.core.errors import decisive
from llmcourse.core.plan import Check, Estimate
from llmcourse.run.steps import Work

# unchanged: an earlier run made just this; waits: it can be planned only when what it needs is made.
State = Literal["unchanged", "to make", "waits", "not published"]
# Kind of repository, its name in small letters (the Hub knows no case there), branch.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Outlook:
    """What is known of one work before anything is made."""

    work: Work
    state: State
    checks: tuple[Check, ...] = ()
    estimate: Estimate = field(default_factory=Estimate)
    summary: tuple[tuple[str, str], ...] = ()
    downloads: Mapping[str, int] = field(default_factory=dict)  # bytes of each model that is not here yet
    artifact: Artifact | None = None  # of what is unchanged
    cost_usd: float = 0.0  # of rented machines, at most
    places: frozenset[Place] = frozenset()  # on the Hub, that it publishes to
    was_left: bool = False  # machines of others work on it since an earlier run
    is_estimated: bool = True  # False where a model could not be read: then the estimate says nothing

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if check.status == "fail"]


@dataclass(frozen=True)
class Whole:
    """The plan of all works: each by itself, and their sum."""

    outlooks: tuple[Outlook, ...]
    checks: tuple[Check, ...]
    estimate: Estimate

    @property
    def failures(self) -> list[tuple[str, Check]]:
        """Every check that failed, with the work it is of (the pipeline's own are of none)."""
        own = [("", check) for check in self.checks if check.status == "fail"]
        return [(each.work.name, check) for each in self.outlooks for check in each.failures] + own

    @property
    def exit_code(self) -> int:
        return decisive(check.exit_code for _, check in self.failures)
