"""Whether results can come back: pods write them to a private data set repository with the user's token."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from llmcourse.core.config import HubTarget
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.plan import Check, Facts, fail, failure, ok

if TYPE_CHECKING:
    from llmcourse.autoeval.config import Config

_KEY = "runpod.results"


def look_up(config: "Config") -> dict[str, str]:
    """For Facts.present: the plan's check as JSON; nothing for other engines, which need no such place."""
    if config.engine != "runpod":
        return {}
    return {_KEY: json.dumps(asdict(_asked(config.runpod.results)))}


def returning_checks(facts: Facts) -> Iterator[Check]:
    """Pure: what was looked up."""
    if _KEY in facts.present:
        yield Check(**json.loads(facts.present[_KEY]))


def _asked(wish: str | None) -> Check:
    from llmcourse.core import hub
    from llmcourse.core.hub.mailbox import USUAL_NAME, refusal_of_public

    try:
        target = hub.read_target(HubTarget(repo=wish or USUAL_NAME, private=True), "dataset")
    except LlmcourseError as error:
        return fail(
            _KEY,
            f"Results cannot come back through {wish or USUAL_NAME}: {error.what}",
            error.fix.replace(", or use --no-push", ""),
            error.exit_code,
        )
    if target.is_public:
        return failure(refusal_of_public(target.repo), _KEY)
    return ok(_KEY, f"{target.repo}{'' if target.exists else ' (new, private)'}")
