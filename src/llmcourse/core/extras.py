"""Whether a library is here, and which extra installs it.  Looks only; imports nothing."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from llmcourse.core.errors import MissingError

# import name -> distribution, where the two differ
_DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python"}


def installed(library: str) -> bool:
    return find_spec(library) is not None


def library_version(library: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    try:
        return version(_DISTRIBUTIONS.get(library, library))
    except PackageNotFoundError:
        return None


def missing(library: str, extra: str) -> MissingError | None:
    """The error that says which extra brings `library`, or None where it is installed."""
    if installed(library):
        return None
    return MissingError(
        f"The library {library} is not installed.", f"Run: pip install 'llmcourse[{extra}]'", where=library
    )
