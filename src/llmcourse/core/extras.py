"""Whether a library is here, and which extra installs it.  Looks only; imports nothing."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from llmcourse.core.errors import MissingError

# import name -> distribution, where the two differ
_DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python"}
_TOOLS = r"extra == .(dev|docs|release)\b"  # extras of those who work on llmcourse


def installed(library: str) -> bool:
    return find_spec(library) is not None


@cache
def library_version(library: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    try:
        return version(_DISTRIBUTIONS.get(library, library))
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of all that llmcourse and its users' extras name and that is installed, by distribution."""
    used = [text for text in requires("llmcourse") or [] if not re.search(_TOOLS, text)]
    named = {re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in used}
    found = {name: library_version(name) for name in sorted(named - {"llmcourse"}, key=str.lower)}
    return {name: number for name, number in found.items() if number}


def missing(libraries: Sequence[str], extra: str) -> MissingError | None:
    """The error that says which extra brings those that are not installed, or None where all are."""
    absent = [library for library in libraries if not installed(library)]
    if not absent:
        return None
    names = ", ".join(absent)
    verb = "library {} is" if len(absent) == 1 else "libraries {} are"
    what = f"The {verb.format(names)} not installed."
    return MissingError(what, f"Run: pip install 'llmcourse[{extra}]'", where=names)
