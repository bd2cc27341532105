"""Which extra installs which library, and whether it is here.  Looks only; imports nothing."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from llmcourse.core.errors import MissingError

# import name -> (distribution, extra)
LIBRARIES: dict[str, tuple[str, str]] = {
    "mergekit": ("mergekit", "merge"),
    "torch": ("torch", "merge"),
    "transformers": ("transformers", "merge"),
}


def installed(library: str) -> bool:
    return find_spec(library) is not None


def library_version(library: str) -> str | None:
    """Version of an installed distribution, None where it is not installed."""
    distribution = LIBRARIES.get(library, (library, ""))[0]
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def missing(library: str) -> MissingError | None:
    """The error that says which extra brings `library`, or None where it is installed."""
    if installed(library):
        return None
    extra = LIBRARIES[library][1]
    return MissingError(
        f"The library {library} is not installed.", f"Run: pip install 'llmcourse[{extra}]'", where=library
    )
