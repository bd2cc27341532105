"""`python -m tests.core.figures.program REQUEST`: the five steps of this command; a `Request` as JSON."""

import json
import sys

from llmcourse.core.command import _execute
from llmcourse.core.console import Console
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.isolated import Worker
from llmcourse.core.planning import Request

_PACKAGE = "tests.core.figures"


def main(request: Request) -> int:
    console = Console(is_json=True, progress="plain")
    worker = Worker(f"{_PACKAGE}.run", sys.stderr.buffer, True, None)
    try:
        return _execute("figures", _PACKAGE, request, console, worker)
    except LlmcourseError as error:
        console.error(error)
        return error.exit_code
    finally:
        worker.stop()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.exit(main(Request(**given | {"overrides": tuple(given.get("overrides", ()))})))
