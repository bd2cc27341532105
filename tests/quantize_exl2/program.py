"""The program as on a machine with a GPU, with another adapter: `-m tests.quantize_exl2.program`.

The five steps are those of `core.command`; only what is known of the machine and who does the work differ.
The first argument is the module of the adapter, the second a `Request` as JSON.
"""

import signal

signal.signal(signal.SIGTERM, signal.default_int_handler)  # before what takes a second to import

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from llmcourse.core.config import load
from llmcourse.core.console import Console
from llmcourse.core.errors import LlmcourseError, Problems
from llmcourse.core.isolated import Worker
from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.making import CardModule, Making
from llmcourse.core.plan import PlanModule
from llmcourse.core.planning import Planning, Request
from llmcourse.quantize_exl2 import card, plan
from llmcourse.quantize_exl2.config import Config

ROOT = Path(__file__).parents[2]
MACHINE = Machine(8, 64 * 10**9, 64 * 10**9, (Gpu("Stand-in GPU", 80 * 10**9),))
PRESENT = {"environment": "here", "extension": "here", "datasets": "here"}


def main(adapter: str, request: Request) -> int:
    console = Console(is_json=True, progress="json")
    try:
        planning = Planning(
            "quantize-exl2", request, False, load(Config, request.config, request.overrides),
            cast(PlanModule, plan), cast(Callable[..., dict[str, Any]], None),
        )  # fmt: skip
        machine = planning.facts.machine if planning.facts.machine.gpus else MACHINE
        planning.facts = replace(planning.facts, machine=machine, present=PRESENT)
        errors = [check.error() for check in planning.plan.failures]
        if errors:
            raise errors[0] if len(errors) == 1 else Problems(errors)
        with tempfile.TemporaryFile() as log:
            worker = Worker(adapter, log, False, None, {"PYTHONPATH": str(ROOT)})
            try:
                writer = cast(CardModule, card)
                making = Making(planning, "llmcourse.quantize_exl2", console, writer, worker)
                console.result(making.artifact())
            finally:
                worker.stop()
                log.seek(0)
                sys.stderr.write(log.read().decode())
    except LlmcourseError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        console.interrupted()
        return 130
    return 0


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    sys.exit(main(sys.argv[1], Request(**given | {"overrides": tuple(given.get("overrides", ()))})))
