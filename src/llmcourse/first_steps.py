"""What a user types to get a config or its schema: `init` and `schema`; loads nothing until one runs."""

import json
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from llmcourse import completion
from llmcourse.endings import end_with
from llmcourse.options import AsJson, examples

EXAMPLES = {
    "init": (
        "llmcourse init",
        "llmcourse init merge slerp -o merge.yaml",
        "llmcourse init quantize-gguf --list",
    ),
    "schema": ("llmcourse schema merge", "llmcourse schema quantize-gguf > quantize-gguf.schema.json"),
}


def add_first_steps(app: typer.Typer, commands: Sequence[str]) -> None:
    """Add both for `commands`, the names of all that read a config."""

    def init(
        command: Annotated[
            str | None,
            typer.Argument(
                metavar="[COMMAND]",
                help="Whose config; without it, all are listed.",
                autocompletion=completion.choices(*commands),
            ),
        ] = None,
        name: Annotated[
            str | None, typer.Argument(metavar="[NAME]", help="Which one; without it, the usual one.")
        ] = None,
        output: Annotated[
            str | None,
            typer.Option("-o", "--output", metavar="FILE", help="Where it goes, - for stdout.  [NAME.yaml]"),
        ] = None,
        listed: Annotated[bool, typer.Option("--list", help="Name the configs of the command.")] = False,
        as_json: AsJson = False,
    ) -> None:
        def action() -> int:
            from llmcourse import init

            if command is None or listed:
                found = init.summaries(commands if command is None else [_known(command, commands)])
                _show(found if as_json else _listed(found))
            else:
                written = init.write(_known(command, commands), name, output)
                _show({"config": written} if as_json else written.rstrip("\n"))
            return 0

        _end(action, as_json)

    def schema(
        command: Annotated[
            str,
            typer.Argument(
                metavar="COMMAND",
                help="The command whose YAML it is of.",
                autocompletion=completion.choices(*commands),
            ),
        ],
    ) -> None:
        def action() -> int:
            from llmcourse.schema import schema_of

            _show(schema_of(_known(command, commands)))
            return 0

        _end(action, False)

    app.command("init", help="Write a commented config to start from.", epilog=_epilog("init"))(init)
    app.command("schema", help="Print the JSON Schema of a command's config.", epilog=_epilog("schema"))(
        schema
    )


def _listed(found: Mapping[str, str]) -> str:
    """A line for each, wrapped between words on a terminal."""
    width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else 1_000_000
    head = max(map(len, found), default=0) + 2
    if width < head + 30:  # too narrow for two columns
        return "\n".join(f"{key}\n{textwrap.fill(line, width, initial_indent='  ', subsequent_indent='  ')}"
                         for key, line in found.items())  # fmt: skip
    rows = (textwrap.fill(line, width, initial_indent=f"{key:<{head}}", subsequent_indent=" " * head,
                          break_long_words=False, break_on_hyphens=False)
            for key, line in found.items())  # fmt: skip
    return "\n".join(rows)


def _known(command: str, commands: Sequence[str]) -> str:
    from llmcourse.core.errors import unknown_name

    if command not in commands:
        raise unknown_name("command with a config called", command, commands)
    return command


def _show(found: Any) -> None:
    typer.echo(found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False))


def _end(action: Any, as_json: bool) -> None:
    from llmcourse.core.console import Console

    end_with(Console(as_json), action)


def _epilog(name: str) -> str:
    return examples(EXAMPLES[name])
