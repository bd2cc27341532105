"""Text on a terminal and elsewhere: lines end between words on the one, and are whole in the other.

rich is imported where it is used: `--help` and `-q` do without it.
"""

import re
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.text import Text


def rich_console(stream: IO[str]) -> "RichConsole":
    """rich decides on colour by the stream, NO_COLOR, FORCE_COLOR and TERM."""
    from rich.console import Console as RichConsole

    class Terminal(RichConsole):
        def on_broken_pipe(self) -> None:
            if stream is sys.stderr:
                self.quiet = True  # nobody reads our progress; the work goes on
            else:
                raise BrokenPipeError  # rich would end the program with 1; a closed pipe is no failure

    return Terminal(file=stream, highlight=False)


def print_paragraph(out: "RichConsole", text: "Text | str", indent: int = 2) -> None:
    """Print a text: on a terminal wrapped between words, later lines indented; one line elsewhere.

    A word that is longer than the line, a path or an address, stays whole: the terminal breaks it, and it can
    be copied.
    """
    from rich.text import Text

    whole = Text(text) if isinstance(text, str) else text
    if not out.is_terminal:
        out.print(whole, soft_wrap=True)
        return
    for paragraph in whole.split("\n", allow_blank=True):
        lines = paragraph.divide(_ends(paragraph.plain, out.width, indent))
        for index, line in enumerate(lines):
            line.rstrip()
            out.print(Text(" " * (indent if index else 0)) + line, soft_wrap=True)


def _ends(text: str, width: int, indent: int) -> list[int]:
    """Where lines end: before words that do not fit. rich's own wrapping breaks long words, or none."""
    from rich.cells import cell_len

    ends, column = [], 0
    for word in re.finditer(r"\s*\S+\s*", text):
        if column and column + cell_len(word[0].rstrip()) > width:
            ends.append(word.start())
            column = indent
        column += cell_len(word[0])
    return ends


def label(word: str, colour: str) -> "Text":
    from rich.text import Text

    return Text(f"{word}: ", style=f"bold {colour}")
