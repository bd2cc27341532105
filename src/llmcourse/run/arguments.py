"""What a user types after `llmcourse run`."""

from typing import Annotated

import typer

from llmcourse import completion
from llmcourse import options as common
from llmcourse.endings import end_with

NAME = "run"
SUMMARY = (
    "Run a pipeline: merge, quantize, evaluate, trace and publish from one file, each step when it is ready."
)
EXAMPLES = (
    "llmcourse run pipeline.yaml",
    "llmcourse run pipeline.yaml --dry-run",
    "llmcourse run pipeline.yaml steps.gguf.with.types='[Q4_K_M]' -o nightly",
)


def add_run(app: typer.Typer) -> None:
    epilog = common.examples(EXAMPLES)
    app.command(NAME, help=SUMMARY, epilog=epilog)(_run)


def _run(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="YAML file, or - for stdin.", autocompletion=completion.configs
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value ...]", help="Override values, as steps.merge.with.dtype=float16."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for all results.")
    ] = None,
    no_push: common.NoPush = False,
    dry_run: common.DryRun = False,
    as_json: common.AsJson = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only the references of the last results.")
    ] = False,
    verbose: common.Verbose = False,
    force: common.Force = False,
    progress: common.Progress = "auto",
    no_color: common.NoColor = False,
) -> None:
    console = common.console_of(as_json, quiet, verbose, progress, no_color)

    def action() -> int:
        from llmcourse.run.command import Request, execute

        common.check_progress(progress)
        request = Request(pipeline, tuple(overrides or ()), output, no_push, dry_run, force)
        return execute(request, console)

    end_with(console, action)
