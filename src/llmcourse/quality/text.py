"""The held-out text, read before anything is made from the model."""

from llmcourse.core.errors import PlanError
from llmcourse.quality.wish import Quality


def read_text(wish: Quality) -> str:
    """The text without a byte-order mark.

    Raises:
        PlanError: it is not UTF-8.
    """
    try:
        return wish.path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError(
            f"{wish.path.name} is not UTF-8 text ({error.reason}).",
            "Save it as plain text in UTF-8.",
            where="quality",
        ) from None
