"""What a user types after `llmcourse family-tree`, whose options are other than those of the pipeline."""

from typing import Annotated, Any

import typer

from llmcourse import completion
from llmcourse import options as common
from llmcourse.endings import end_with

NAME = "family-tree"
SUMMARY = "Show where a model comes from and what came of it: merges, fine-tunes, licences."
EXAMPLES = (
    "llmcourse family-tree org/name",
    "llmcourse family-tree org/name --direction both -o family.html",
    "llmcourse family-tree both.yaml model=org/name depth=2",
    "llmcourse family-tree org/name --push --pull-request",
    "llmcourse merge m.yaml -q | llmcourse family-tree -",
)


def add_family_tree(app: typer.Typer) -> None:
    epilog = common.examples(EXAMPLES)
    app.command(NAME, help=SUMMARY, epilog=epilog)(_family_tree)


def _family_tree(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Hub ids or folders, - for stdin; or a YAML file and key=value.",
            autocompletion=completion.models,
        ),
    ],
    direction: Annotated[
        str | None,
        typer.Option(
            metavar="up|down|both",
            help="Ancestors, descendants, or both.  [up]",
            autocompletion=completion.choices("up", "down", "both"),
        ),
    ] = None,
    depth: Annotated[int | None, typer.Option(metavar="N", help="So many generations.  [all]")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Children shown of each model, by downloads.  [50]")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="tree|json|mermaid|dot|svg|png|html",
            help="By default what -o ends with, or the tree.",
            autocompletion=completion.choices("tree", "json", "mermaid", "dot", "svg", "png", "html"),
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="PATH", help="A file, or a folder for several formats."),
    ] = None,
    colour_by: Annotated[
        str | None,
        typer.Option("--colour-by", "--color-by", metavar="licence|relation", help="What colours mean."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use what earlier runs have read, and no network.")
    ] = False,
    push: Annotated[bool, typer.Option("--push", help="Put the tree into the model's card.")] = False,
    no_push: common.NoPush = False,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Put it there by a pull request.")
    ] = False,
    as_json: common.AsJson = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Print only the paths written, or only the tree.")
    ] = False,
    verbose: common.Verbose = False,
    progress: common.Progress = "auto",
    no_color: common.NoColor = False,
) -> None:
    console = common.console_of(as_json, quiet, verbose, progress, no_color)
    given = {
        "direction": direction, "depth": depth, "limit": limit, "formats": formats, "output": output,
        "colour_by": colour_by,
    }  # fmt: skip
    options: dict[str, Any] = {key: value for key, value in given.items() if value not in (None, [])}

    def action() -> int:
        from llmcourse.family_tree.command import execute
        from llmcourse.family_tree.request import Request

        common.check_progress(progress)
        request = Request(tuple(words), options, push, no_push, pull_request, offline)
        return execute(request, console)

    end_with(console, action)
