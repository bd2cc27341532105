"""Options that every command has, and what follows from them; loads nothing."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, cast

import typer

from llmcourse import completion

if TYPE_CHECKING:
    from llmcourse.core.console import Console, ProgressStyle

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Print the plan and exit as the run would.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace the result of another run, here and on the Hub.")
]
NoPush = Annotated[bool, typer.Option("--no-push", help="Do not publish, whatever the config says.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Show the libraries' own logs.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Use no colours.")]
Progress = Annotated[
    str,
    typer.Option(
        metavar="auto|plain|json|none",
        envvar="LLMCOURSE_PROGRESS",
        help="How to show it.",
        autocompletion=completion.choices("auto", "plain", "json", "none"),
    ),
]
WIDEST = 160  # columns of a help text, where the terminal has more
_STYLES = ("auto", "plain", "json", "none")


def console_of(as_json: bool, quiet: bool, verbose: bool, progress: str, no_color: bool) -> "Console":
    """What prints; a style of progress that is not known is `auto` there, and refused by `check_progress`."""
    from llmcourse.core.console import Console

    if no_color:
        os.environ["NO_COLOR"] = "1"
    return Console(
        as_json, quiet, verbose, cast("ProgressStyle", progress if progress in _STYLES else "auto")
    )


def check_progress(progress: str) -> None:
    """Raises ConfigError where there is no such style."""
    from llmcourse.core.errors import ConfigError

    if progress not in _STYLES:
        raise ConfigError(f"--progress {progress!r} is not known.", f"Use {', '.join(_STYLES[:-1])} or none.")


def examples(commands: Iterable[str]) -> str:
    """For the end of a help text; the mark keeps its lines as they are, so that they can be copied."""
    return "\n".join(["Examples:\n\n\b", *(f"  {command}" for command in commands)])
