"""What `autoeval` does beside evaluating: look after rented pods, and draw a leaderboard's page."""

import json
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from llmcourse.endings import end_with
from llmcourse.options import AsJson, examples

_Pod = Annotated[str, typer.Argument(metavar="ID", help="A pod's id or its name.")]
_Repository = Annotated[
    str | None, typer.Option("--results", metavar="REPO_ID", help="Data set repository of the results.")
]


class Root(TyperGroup):
    """Knows commands of two words, `autoeval status ID` beside `autoeval CONFIG`, and says what was meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        joined = " ".join(args[:2])
        if len(args) > 1 and joined in self.commands:
            return joined, self.commands[joined], args[2:]
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            _refuse(args[0], [name for name in self.commands if " " not in name])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Whole summaries, wrapped; the library cuts them to a line."""
        rows = [(name, command.help or "") for name, command in self.commands.items() if not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Commands of two words are offered after their first (completion.evaluations)."""
        return [item for item in super().shell_complete(ctx, incomplete) if " " not in item.value]


def _refuse(command: str, known: list[str]) -> NoReturn:
    from llmcourse.core.console import Console
    from llmcourse.core.errors import unknown_name

    def refuse() -> int:
        raise unknown_name("command", command, known)

    end_with(Console("--json" in sys.argv), refuse)


def add_subcommands(app: typer.Typer) -> None:
    """Add them; each imports what it needs when it runs."""
    app.command(
        "autoeval status",
        help="Say how far a pod is, and what it has cost.",
        epilog=examples(["llmcourse autoeval status llmcourse-nous-1"]),
    )(_status)
    app.command(
        "autoeval logs",
        help="Print the end of a pod's log.",
        epilog=examples(["llmcourse autoeval logs llmcourse-nous-1"]),
    )(_logs)
    app.command(
        "autoeval stop",
        help="End a pod, or all of a run, and see that it is gone.",
        epilog=examples(["llmcourse autoeval stop llmcourse-nous-1"]),
    )(_stop)
    app.command(
        "autoeval leaderboard",
        help="Draw a leaderboard's page from its data set.",
        epilog=examples(["llmcourse autoeval leaderboard me/leaderboard -o index.html"]),
    )(_leaderboard)


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
