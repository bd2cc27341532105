"""What a user types after `llmcourse doctor`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from llmcourse import completion
from llmcourse import options as common
from llmcourse.endings import end_with

NAME = "doctor"
EXAMPLES = ("llmcourse doctor", "llmcourse doctor quantize-exl2", "llmcourse doctor merge --json")


def add_doctor(app: typer.Typer, commands: Sequence[str]) -> None:
    """Add it, for these commands."""

    def doctor(
        command: Annotated[
            str | None,
            typer.Argument(
                metavar="[COMMAND]",
                help="Only this one; exit 3 if it cannot run here.",
                autocompletion=completion.choices(*commands),
            ),
        ] = None,
        as_json: common.AsJson = False,
        no_color: common.NoColor = False,
    ) -> None:
        console = common.console_of(as_json, False, False, "auto", no_color)

        def action() -> int:
            from llmcourse.core.errors import unknown_name
            from llmcourse.doctor.command import execute

            if command is not None and command not in commands:
                raise unknown_name("command", command, commands)
            return execute(command, commands, console)

        end_with(console, action)

    epilog = common.examples(EXAMPLES)
    app.command(NAME, help="Say what this machine can run, and what mends the rest.", epilog=epilog)(doctor)
