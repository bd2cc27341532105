"""The program as on a machine with a GPU, with another adapter: `-m tests.quantize_exl2.program`.

The five steps are those of `core.command`; only what is known of the machine and who does the work differ.
The first argument is the module of the adapter, the second a `Request` as JSON.
"""

import signal

signal.signal(signal.SIGTERM, signal.default_int_handler)  # before what takes a second to import

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from llmcourse.core.config import load
from llmcourse.core.console import Console
from llmcourse.core.errors import Problems
from llmcourse.core.isolated import Worker
from llmcourse.core.machine import Gpu, Machine
from llmcourse.core.making import CardModule, Making
from llmcourse.core.plan import PlanModule
from llmcourse.core.planning import Planning, Request
from llmcourse.endings import end_with
from llmcourse.quantize_exl2 import card, plan
from llmcourse.quantize_exl2.config import Config

ROOT = Path(__file__).parents[2]
MACHINE = Machine(8, 64 * 10**9, 64 * 10**9, (Gpu("Stand-in GPU", 80 * 10**9),))
PRESENT = {"environment": "here", "extension": "here", "datasets": "here"}


def main(adapter: str, request: Request, console: Console) -> int:
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
        paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
        worker = Worker(adapter, log, False, None, {"PYTHONPATH": paths})
        try:
            writer = cast(CardModule, card)
            making = Making(planning, "llmcourse.quantize_exl2", console, writer, worker)
            console.result(making.artifact())
        finally:
            worker.stop()
            log.seek(0)
            for line in log.read().decode().splitlines():
                sys.stderr.write(f"  | {line}\n")  # as the console shows a library's log
    return 0


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    asked = Request(**given | {"overrides": tuple(given.get("overrides", ()))})
    for stream in (sys.stdout, sys.stderr):
        cast(TextIOWrapper, stream).reconfigure(errors="backslashreplace")  # as cli.py does
    printed = Console(is_json=True, progress="json")
    end_with(printed, lambda: main(sys.argv[1], asked, printed))
