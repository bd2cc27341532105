"""Nothing is needed; what was looked up is shown."""

from llmcourse.core.plan import Estimate, Facts, Plan
from tests.core.figures.config import Config

LIBRARIES: tuple[str, ...] = ()
EXTRA = "none"


def look_up(config: Config) -> dict[str, str]:
    return {"service": "answers"} if config.gist else {}


def plan(config: Config, facts: Facts) -> Plan:
    return Plan("figures", tuple(facts.present.items()), (), (), Estimate(), pieces=tuple(config.pieces))
