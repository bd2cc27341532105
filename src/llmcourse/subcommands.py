"""What `autoeval` does beside evaluating: look after rented pods, and draw a leaderboard's page."""

import json
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmcourse.endings import end_with
from llmcourse.options import AsJson

_Pod = Annotated[str, typer.Argument(metavar="ID", help="A pod's id or its name.")]
_Repository = Annotated[
    str | None, typer.Option("--results", metavar="REPO_ID", help="Data set repository of the results.")
]


class Root(TyperGroup):
    """Knows commands of two words: `autoeval status ID` beside `autoeval CONFIG`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        joined = " ".join(args[:2])
        if len(args) > 1 and joined in self.commands:
            return joined, self.commands[joined], args[2:]
        return super().resolve_command(ctx, args)


def add_subcommands(app: typer.Typer) -> None:
    """Add them; each imports what it needs when it runs."""
    app.command("autoeval status", help="Say how far a pod is, and what it has cost.")(_status)
    app.command("autoeval logs", help="Print the end of a pod's log.")(_logs)
    app.command("autoeval stop", help="End a pod, or all of a run, and see that it is gone.")(_stop)
    app.command("autoeval leaderboard", help="Draw a leaderboard's page from its data set.")(_leaderboard)


def _status(pod: _Pod, results: _Repository = None, as_json: AsJson = False) -> None:
    def action() -> tuple[str, Any]:
        from llmcourse.autoeval.runpod.commands import status

        found = status(pod, results)
        return found.sentence(), found.as_json()

    _do(action, as_json)


def _logs(pod: _Pod, results: _Repository = None, as_json: AsJson = False) -> None:
    def action() -> tuple[str, Any]:
        from llmcourse.autoeval.runpod.commands import logs

        text = logs(pod, results)
        return text.rstrip("\n"), {"log": text}

    _do(action, as_json)


def _stop(pod: _Pod, as_json: AsJson = False) -> None:
    def action() -> tuple[str, Any]:
        from llmcourse.autoeval.runpod.commands import stop

        ended = stop(pod)
        return f"ended: {', '.join(ended)}", {"ended": ended}

    _do(action, as_json)


def _leaderboard(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Its data set repository, or a folder.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PAGE", help="Where the page goes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    def action() -> tuple[str, Any]:
        from llmcourse.autoeval.publishing.leaderboard import command

        page = command(source, output)
        return str(page), {"page": str(page)}

    _do(action, as_json)


def _do(action: Any, as_json: bool) -> None:
    """Run it and print what it found: a sentence, or a document."""
    from llmcourse.core.console import Console

    def printed() -> int:
        sentence, document = action()
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else sentence)
        return 0

    end_with(Console(as_json), printed)
