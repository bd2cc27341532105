"""Documents of one size, out of a BIG-bench data set that holds all sizes of a task."""

from typing import Any


def of_three(documents: Any) -> Any:
    return _with_choices(documents, 3)


def of_five(documents: Any) -> Any:
    return _with_choices(documents, 5)


def of_seven(documents: Any) -> Any:
    return _with_choices(documents, 7)


def _with_choices(documents: Any, count: int) -> Any:
    """The rows of a datasets.Dataset that have so many choices."""
    return documents.filter(lambda document: len(document["multiple_choice_targets"]) == count)
