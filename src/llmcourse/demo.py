"""`llmcourse demo`: a Hub of this machine, with real models, against which every example can be typed."""

import json
import threading
from pathlib import Path
from typing import Annotated

import typer

from llmcourse.endings import end_with
from llmcourse.options import AsJson, examples

NAME = "demo"
EXAMPLES = ("llmcourse demo", "llmcourse demo -o /tmp/demo --port 8080")


def add_demo(app: typer.Typer) -> None:
    """Add it; nothing is loaded before it runs."""

    def demo(
        output: Annotated[
            str, typer.Option("-o", "--output", metavar="DIR", help="Where the Hub and texts are kept.")
        ] = "demo-out",
        port: Annotated[int, typer.Option("--port", help="Of the Hub; 0 is any free one.")] = 0,
        as_json: AsJson = False,
    ) -> None:
        from llmcourse.core.console import Console

        console = Console(as_json)

        def action() -> int:
            from llmcourse.core.progress import Progress
            from llmcourse.testing.demo.hub import USER, demo_hub, models, write_texts

            folder = Path(output).absolute()
            progress = Progress(console.event)
            smol = models(folder, progress)
            write_texts(folder)
            with demo_hub(folder / "hub", smol, progress, port) as hub:
                console.close()
                values = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.tokens[USER]}
                lines = [f"export {name}={value}" for name, value in values.items()]
                console.note(_INTRODUCTION.format(models="\n".join(f"  {name}" for name in smol.by_id)))
                typer.echo(json.dumps(values) if as_json else "\n".join(lines))
                console.note(_NEXT.format(folder=output))
                try:
                    threading.Event().wait()
                except KeyboardInterrupt:
                    console.note(f"The demo's Hub has ended. What it held is kept in {folder / 'hub'}.")
            return 0

        end_with(console, action)

    help_text = "Start a Hub here with real models, to try everything on."
    app.command(NAME, help=help_text, epilog=examples(EXAMPLES))(demo)


_INTRODUCTION = """A Hub of this machine is up, until Ctrl-C. You are the user `me`. It holds:
{models}

Type this in another terminal:
"""
_NEXT = """
and there, for example:

cd {folder}
llmcourse init merge demo
llmcourse merge demo.yaml --push me/merged -o merged
llmcourse family-tree me/merged
"""
