"""`python -m tests.core.figures.program REQUEST`: the five steps of this command; a `Request` as JSON."""

import json
import sys

from llmcourse.core.command import execute
from llmcourse.core.console import Console
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.planning import Request


def main(request: Request) -> int:
    console = Console(is_json=True, is_verbose=True, progress="plain")
    try:
        return execute("figures", request, console, root="tests.core")
    except LlmcourseError as error:
        console.error(error)
        return error.exit_code


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.exit(main(Request(**given | {"overrides": tuple(given.get("overrides", ()))})))
