"""How the program ends: errors become sentences and exit codes here, and nowhere else."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from llmcourse.core.console import Console


class Ended(SystemExit):
    """Our own end of the program: what there is to print has been printed."""


def end_with(console: "Console", action: Callable[[], int]) -> NoReturn:
    """Do it, and exit with what it returns or with the code of what stopped it."""
    from llmcourse.core.errors import LlmcourseError, file_error

    try:
        code = action()
    except LlmcourseError as error:
        console.error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        console.interrupted()
        code = 130
    except OSError as error:
        refusal = file_error(error)
        console.error(refusal)
        code = refusal.exit_code
    except Exception as error:
        console.crash(error)
        code = 1
    _forget_broken_pipes()
    raise Ended(code)


def _forget_broken_pipes() -> None:
    """Python flushes stdout and stderr once more at its own end, and would complain about a closed pipe."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
