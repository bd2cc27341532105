"""The steps of `llmcourse family-tree`: read the config, refuse, walk, draw, tell what was found, publish."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from llmcourse.core.console import Console
from llmcourse.core.errors import ConfigError
from llmcourse.core.human import human_bytes
from llmcourse.core.progress import Progress
from llmcourse.family_tree import formats
from llmcourse.family_tree.config import Config
from llmcourse.family_tree.formats.look import printable
from llmcourse.family_tree.graph import Graph
from llmcourse.family_tree.places import Place, places
from llmcourse.family_tree.publish import Published, card_place, publish
from llmcourse.family_tree.request import Request, read


def execute(request: Request, console: Console) -> int:
    """Do it all; 0 also where relatives of the model could not be read, which are drawn as such.

    Raises:
        ConfigError: the command line or the YAML is wrong.
        MissingError: a format needs what this machine lacks; nothing was asked of the Hub then.
        PlanError: a model that was asked for cannot be read, or its card may not be changed.
        PublishError: all is drawn and written, and the card could not be changed.
    """
    config = read(request)
    wanted = _wanted(config, request, console.is_json)
    for place in wanted:
        formats.check(place.format)
    from llmcourse.core import hub

    hub.use_quietly(console.is_verbose)
    card = card_place(config) if config.hub else None
    progress = Progress(console.event)
    graph = _walked(config, request.is_offline, progress)
    files = _written(graph, config, wanted, progress)
    with suppress(BrokenPipeError):  # whoever read our stdout has had enough; the rest is done all the same
        _show(graph, config, wanted, files, console)
    for finding in graph.findings:
        progress.note(printable(f"{finding.kind}: {finding.sentence}"))
    if card:
        with progress.step(f"put the tree into the card of {card.repo}"):
            published = publish(card, graph, config.colour_by)
        with suppress(BrokenPipeError):
            _tell(published, wanted, console, progress)
    console.close()
    return 0


def _wanted(config: Config, request: Request, is_json: bool) -> list[Place]:
    """Every format and its place; with --json stdout has the document, whatever else is written."""
    if is_json and config.output is None:
        asked = request.options.get("formats") or ["json"]
        if asked != ["json"]:
            raise ConfigError(
                f"--json and --format {asked[0]} both want stdout.",
                "Send one of them to a file with -o.",
                "--format",
            )
        return [Place("json")]
    found = places(config.formats, config.output, config.model)
    if found[0] == Place("png") and sys.stdout.isatty():
        raise ConfigError(
            "A picture is nothing for a terminal.", "Give it a file: -o family.png.", "--format"
        )
    return [*found, Place("json")] if is_json else found


def _walked(config: Config, is_offline: bool, progress: Progress) -> Graph:
    from llmcourse.family_tree.walk import Options, walk

    options = Options(config.direction, config.depth, config.limit, is_offline)
    with progress.step("read the family") as step:
        return walk(config.model, options, progress.note, lambda done, _: step.advance(done - step.done))


def _written(graph: Graph, config: Config, wanted: list[Place], progress: Progress) -> dict[Path, int]:
    """Sizes of the files, in bytes; all is drawn before any of it is written."""
    drawn: dict[Path, bytes] = {}
    for place in wanted:
        if place.path is not None:
            with progress.step(f"draw {place.path.name}"):
                drawn[place.path] = formats.render(graph, place.format, config.colour_by)
    for path, content in drawn.items():
        _write(path, content)
    return {path: len(content) for path, content in drawn.items()}


def _show(
    graph: Graph, config: Config, wanted: list[Place], files: dict[Path, int], console: Console
) -> None:
    """What goes to stdout: a format, or the names of the files."""
    for place in wanted:
        if place.path is None:
            _print(graph, place.format, config, console)
    if not console.is_json:
        for path, size in files.items():
            console.line(str(path) if console.is_quiet else f"family-tree: {path} ({human_bytes(size)})")


def _print(graph: Graph, format: str, config: Config, console: Console) -> None:
    if format != "tree":
        console.document(formats.render(graph, format, config.colour_by))
        return
    from llmcourse.family_tree.formats import terminal

    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        console.drawing(terminal.draw(graph, config.colour_by, columns, is_bare=console.is_quiet))
    else:
        console.document(terminal.render(graph, config.colour_by, is_bare=console.is_quiet))


def _write(path: Path, content: bytes) -> None:
    """Under its name is either the whole new file or what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_bytes(content)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def _tell(published: Published, wanted: list[Place], console: Console, progress: Progress) -> None:
    """Where the card is: on stdout, unless that holds a document which a sentence would spoil."""
    if any(place.path is None for place in wanted):
        progress.note(f"published: {published.url}")
    elif console.is_quiet:
        console.line(published.reference)
    else:
        console.line(f"published: {published.url}")
