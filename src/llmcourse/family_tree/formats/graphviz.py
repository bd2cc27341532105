"""The layout engine of the pictures: Graphviz, from the extra `tree` or as the system has it."""

import shutil
import subprocess
import sysconfig

from llmcourse.core.errors import LibraryError, MissingError

_LIMIT_S = 600


def program() -> str:
    """Path of a program that takes `dot`'s arguments.

    First the one of the extra (graphviz-pure, a port of Graphviz 16.1): it brings its fonts, so a picture is
    the same on every machine, and lays 5,000 models out in half the time of Graphviz 2.43.

    Raises MissingError.
    """
    found = shutil.which(
        "graphviz-pure", path=sysconfig.get_path("scripts")
    )  # where no environment is activated
    if (path := found or shutil.which("graphviz-pure") or shutil.which("dot")) is None:
        raise MissingError(
            "Graphviz, which lays the picture out, is not installed.",
            "Run: pip install 'llmcourse[tree]' (or install your system's graphviz), or use --format html.",
            where="graphviz",
        )
    return path


def draw(text: bytes, *arguments: str) -> bytes:
    """What Graphviz makes of a graph in its language. Raises LibraryError where it fails."""
    try:
        done = subprocess.run(
            [program(), *arguments], input=text, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as end:
        raise LibraryError(
            f"Graphviz has not finished after {_LIMIT_S // 60} minutes.",
            "Draw less of the family with --depth or --limit, or use --format html.",
        ) from end
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise LibraryError(f"Graphviz failed: {said[-500:]}", "Use --format html, and report the graph.")
    return done.stdout
