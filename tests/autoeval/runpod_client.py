"""A client of the engine in a process of its own, as the command's child is: JSON in, a line out for each."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from llmcourse.autoeval.runpod.engine import evaluate
from llmcourse.autoeval.runpod.fleet import Pace
from llmcourse.autoeval.suite import Suite
from llmcourse.autoeval.units import units_of
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.isolated import Job
from llmcourse.core.progress import Event, Progress, event_to_json


def say(kind: str, data: object) -> None:
    sys.stdout.write(json.dumps({kind: data}) + "\n")
    sys.stdout.flush()


def main() -> None:
    told = json.loads(sys.argv[1])
    scratch = Path(told["scratch"])
    scratch.mkdir(parents=True, exist_ok=True)
    suite = told["suite"]
    models = [
        {"model": name, "name": name, "path": name, "backend": "hf"} for name in told["config"]["model"]
    ]
    job = Job(told["config"], {"suite": suite}, {}, scratch, scratch)

    def show(event: Event) -> None:
        say("event", event_to_json(event))

    has_failed = False
    try:
        for result in evaluate(units_of(Suite(**suite), models), job, Progress(show), Pace(**told["pace"])):
            say("result", asdict(result))
            has_failed |= bool(result.error)
    except LlmcourseError as error:
        say("error", {"type": type(error).__name__, **error.as_json()})
        sys.exit(error.exit_code)
    sys.exit(5 if has_failed else 0)


if __name__ == "__main__":
    main()
