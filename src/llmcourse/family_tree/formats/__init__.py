"""The formats in which a family is shown: one module each, found by its name.

A module has `render(graph, colour_by) -> bytes`; where it needs a program that may not be here it also has
`check() -> None`, which raises the MissingError that says how to get it.
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from llmcourse.core.errors import ConfigError
from llmcourse.family_tree.formats.look import ColourBy
from llmcourse.family_tree.graph import Graph

# format -> how its files end
FORMATS = {
    "tree": ".txt",
    "json": ".json",
    "mermaid": ".mmd",
    "dot": ".dot",
    "svg": ".svg",
    "png": ".png",
    "html": ".html",
}
_MODULES = {"tree": "terminal", "json": "as_json"}
_OTHER_ENDINGS = {".gv": "dot", ".mermaid": "mermaid", ".htm": "html"}


class _Format(Protocol):
    def render(self, graph: Graph, colour_by: ColourBy) -> bytes: ...


def render(graph: Graph, format: str, colour_by: ColourBy = "licence") -> bytes:
    """The family in one of FORMATS; texts are UTF-8 and end with a newline.

    Raises MissingError where `check` does, and LibraryError where Graphviz fails.
    """
    return cast(_Format, _module(format)).render(graph, colour_by)


def check(format: str) -> None:
    """Raise MissingError where this machine lacks what the format needs; costs no request and no import."""
    if (needs := getattr(_module(format), "check", None)) is not None:
        needs()


def format_of(path: Path) -> str:
    """The format that a file's name asks for by its ending."""
    endings = {ending: format for format, ending in FORMATS.items()} | _OTHER_ENDINGS
    if (format := endings.get(path.suffix.lower())) is None:
        raise ConfigError(
            f"The ending of {path.name!r} is not that of a format.",
            f"Use one of {', '.join(FORMATS.values())}, or name the format with --format.",
            where=str(path),
        )
    return format


def _module(format: str) -> object:
    return import_module(f"{__name__}.{_MODULES.get(format, format)}")
