"""An output folder that is a link to another folder, or lies behind one."""

import errno
from pathlib import Path

from llmcourse.core.errors import PlanError


def without_link(path: Path) -> Path:
    """Where a link to a folder leads: the result is renamed to its place, which would replace the link.

    Raises:
        PlanError: it, or a folder above it, is a link that leads to itself.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PlanError(
                f"{path} leads through a link to itself.",
                "Remove that link, or choose another folder with -o.",
                where=str(path),
            ) from None
    return path.resolve() if path.is_symlink() and not path.is_file() else path
