"""What is said of merged tensors that hold NaN or infinities, on the terminal and in the card."""

from collections.abc import Iterable, Iterator

from llmcourse.core.artifact import OutputFile

KEY = "not_finite"  # in OutputFile.about: for each such tensor [what it holds, the models that hold such too]


def sentences(files: Iterable[OutputFile]) -> Iterator[str]:
    """One for all tensors that hold the same and have it from the same models."""
    groups: dict[tuple[str, str], list[str]] = {}
    for file in files:
        for name, (what, models) in sorted(file.about.get(KEY, {}).items()):
            groups.setdefault((what, _origin(models)), []).append(name)
    for (what, origin), names in groups.items():
        more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
        yield f"{names[0]}{more} of the result {'hold' if more else 'holds'} {what}{origin}."


def _origin(models: list[str] | None) -> str:
    """None where nobody traced it."""
    if models is None:
        return ""
    return f", which came from {' and '.join(models)}" if models else ", which none of the models holds there"
