"""The command line: names the commands, maps errors to exit codes. Loads nothing else until a command runs.

Every command that makes something has one shape, `llmcourse COMMAND CONFIG [key=value ...] [options]`, so one
factory builds all of them from the table below.  A new command is a row here and a package of its name.
"""

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from llmcourse import __version__, completion, options
from llmcourse.demo import add_demo
from llmcourse.doctor.arguments import add_doctor
from llmcourse.endings import end_with
from llmcourse.family_tree import arguments as family_tree
from llmcourse.first_steps import add_first_steps
from llmcourse.run import arguments as pipelines
from llmcourse.subcommands import Root, add_subcommands

# name -> (what it does, examples for --help)
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "merge": (
        "Merge models with mergekit: one YAML in, one model out, on the Hub if you like.",
        (
            "llmcourse merge slerp.yaml -o merged",
            "llmcourse merge mergekit.yml dtype=float16 --push me/merged --private",
            "llmcourse merge ties.yaml --dry-run",
        ),
    ),
    "quantize-gguf": (
        "Quantize a model to GGUF with llama.cpp: one conversion, many types, each tried and measured.",
        (
            "llmcourse quantize-gguf usual.yaml model=org/name --push me/name-GGUF",
            "llmcourse quantize-gguf quality.yaml 'types=[Q4_K_M, Q8_0]' --dry-run",
            "llmcourse merge m.yaml -q | llmcourse quantize-gguf g.yaml model=- -q",
        ),
    ),
    "quantize-gptq": (
        "Quantize a model to GPTQ or AWQ with gptqmodel, on the CPU too, reloaded and measured.",
        (
            "llmcourse quantize-gptq usual.yaml model=org/name --push me/name-GPTQ",
            "llmcourse quantize-gptq quality.yaml bits=3 --dry-run",
            "llmcourse merge m.yaml -q | llmcourse quantize-gptq g.yaml model=- -q",
        ),
    ),
    "quantize-exl2": (
        "Quantize a model to EXL2 with exllamav2 on a GPU: one measurement, then a result for each size.",
        (
            "llmcourse quantize-exl2 usual.yaml model=org/name --push me/name-exl2",
            "llmcourse quantize-exl2 usual.yaml bits_per_weight=4.25 --dry-run",
            "llmcourse quantize-exl2 more-sizes.yaml measurement=measurement.json",
        ),
    ),
    "autoeval": (
        "Benchmark models with lm-eval, here, on a Ray cluster or on rented GPUs: figures you can trust.",
        (
            "llmcourse autoeval nous.yaml model=org/name -o scores",
            "llmcourse autoeval tiny.yaml 'model=[one, two]' --dry-run",
            "llmcourse merge m.yaml -q | llmcourse autoeval e.yaml model=- -q",
        ),
    ),
}

app = typer.Typer(
    name="llmcourse",
    cls=Root,
    help="Merge, quantize, evaluate and trace open language models, from one YAML file to the Hub.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    epilog=options.examples(("llmcourse init merge slerp", "llmcourse merge slerp.yaml", "llmcourse doctor")),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": options.WIDEST},
)


def _print_version(wanted: bool) -> None:
    """Ours first, so that scripts can read the first line; then those of the libraries that are installed."""
    if wanted:
        from llmcourse.core.extras import versions

        lines = [f"llmcourse {__version__}", *(f"{name} {number}" for name, number in versions().items())]
        typer.echo("\n".join(lines))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print all versions.")
    ] = False,
) -> None:
    pass


def _add_command(name: str, summary: str, examples: tuple[str, ...]) -> None:
    configs = completion.evaluations if name == "autoeval" else completion.configs

    def command(
        config: Annotated[
            str,
            typer.Argument(metavar="CONFIG", help="YAML file, or - for stdin.", autocompletion=configs),
        ],
        overrides: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[key=value ...]",
                help="Override values of the config, as a.b=1.",
                autocompletion=completion.overrides,
            ),
        ] = None,
        output: Annotated[
            str | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for the result.")
        ] = None,
        push: Annotated[
            str | None, typer.Option("--push", metavar="REPO_ID", help="Publish to this Hub repository.")
        ] = None,
        no_push: options.NoPush = False,
        private: Annotated[bool, typer.Option("--private", help="Create the repository as private.")] = False,
        revision: Annotated[
            str | None, typer.Option("--revision", metavar="BRANCH", help="Branch to publish to.")
        ] = None,
        dry_run: options.DryRun = False,
        as_json: options.AsJson = False,
        quiet: Annotated[
            bool, typer.Option("-q", "--quiet", help="Print only the result's reference.")
        ] = False,
        verbose: options.Verbose = False,
        force: options.Force = False,
        progress: options.Progress = "auto",
        no_color: options.NoColor = False,
    ) -> None:
        console = options.console_of(as_json, quiet, verbose, progress, no_color)

        def action() -> int:
            from llmcourse.core.command import execute
            from llmcourse.core.errors import ConfigError
            from llmcourse.core.planning import Request

            options.check_progress(progress)
            if push == "" or output == "":
                raise ConfigError("--push and -o need a value.", "Leave the option out, or name a place.")
            if push and no_push:
                raise ConfigError("--push and --no-push exclude each other.", "Keep one of them.")
            request = Request(
                config, tuple(overrides or ()), output, push, no_push, private, revision, dry_run, force
            )
            return execute(name, request, console)

        end_with(console, action)

    epilog = options.examples(examples)
    app.command(name, help=summary, epilog=epilog)(command)


for _name, (_summary, _examples) in COMMANDS.items():
    _add_command(_name, _summary, _examples)
family_tree.add_family_tree(app)
pipelines.add_run(app)
add_subcommands(app)
READERS = (*COMMANDS, family_tree.NAME, pipelines.NAME)  # of a config
add_first_steps(app, READERS)
add_doctor(app, READERS)
add_demo(app)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `llmcourse` program."""
    try:
        # CI systems end a job with SIGTERM: it is treated as Ctrl-C, so the same command resumes.
        signal.signal(signal.SIGTERM, _interrupt)
        _open_closed_streams()
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if type(error).__name__ == "Abort":  # Typer's, of a Ctrl-C while it reads the command line
            sys.exit(130)
        if not hasattr(error, "format_message"):
            raise
        _refuse_command_line(error)
    finally:
        # Where an interrupt met an exec (a dataclass makes one), CPython would end by the signal in spite of
        # our exit code, until another exec begins (run_eval_code_obj in its pythonrun.c).
        exec("")
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_command_line(error: Any) -> NoReturn:
    """Typer's error of what was typed, as two sentences like all others."""
    from llmcourse.core.console import Console
    from llmcourse.core.errors import ConfigError

    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(error.exit_code)
    path = error.ctx.command_path if error.ctx else "llmcourse"
    near = list(getattr(error, "possibilities", None) or [])
    fix = f"Did you mean {' or '.join(near)}?" if near else f"Run `{path} --help`."
    what = f"No such option: {error.option_name}" if near else error.format_message().rstrip(".")
    Console("--json" in sys.argv).error(ConfigError(f"{what}.", fix))
    sys.exit(ConfigError.exit_code)


def _open_closed_streams() -> None:
    """A stream that the caller closed (`>&-`) is None here; text it cannot encode is escaped."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Stays open as long as the program, like the stream it stands for.
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
