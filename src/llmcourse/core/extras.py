"""Whether a library is here, and which extra installs it.  Looks only; imports nothing."""

import re
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


def missing(library: str, extra: str) -> MissingError | None:
    """The error that says which extra brings `library`, or None where it is installed."""
    if installed(library):
        return None
    return MissingError(
        f"The library {library} is not installed.", f"Run: pip install 'llmcourse[{extra}]'", where=library
    )
