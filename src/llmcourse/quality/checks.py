"""Whether the held-out text of a measurement is one."""

from collections.abc import Iterator

from llmcourse.core.calibration import Calibration, provenance
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.plan import Check, Facts, fail, failure, warn
from llmcourse.quality.sizes import CONTEXT
from llmcourse.quality.wish import Quality


def quality_checks(wish: Quality | None, calibration: Calibration | None, facts: Facts) -> Iterator[Check]:
    """Readable, long enough for one window, and none of the calibration's texts."""
    if wish is None:
        return
    found = facts.files[wish.text]
    used = provenance(calibration, facts).get("files", ()) if calibration else ()
    if isinstance(found, LlmcourseError):
        yield failure(found, "quality")
    elif found.size < CONTEXT:  # a token has a byte at least
        yield fail(
            "quality",
            f"{wish.path.name} has {found.size} bytes, less than one window of {CONTEXT} tokens.",
            "Give a longer text.",
        )
    elif found.sha256 in {file["sha256"] for file in used}:
        yield warn(
            "quality",
            "The held-out text is a text of the calibration, so the figures flatter the result.",
            "Give a text that is not in the calibration.",
        )
