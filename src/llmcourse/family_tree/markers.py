"""The part of a model card that is the family tree's (core.marked)."""

import re

from llmcourse.core.marked import begin, end, with_part

_NAME = "family-tree"
BEGIN, END = begin(_NAME), end(_NAME)


def with_tree(card: str, mermaid: str) -> str:
    """The card with this diagram between the markers; at its end, where there are none yet.

    Raises:
        PublishError: a marker is alone, twice or in the wrong order, or the card ends inside a code block.
    """
    longest = max((len(run) for run in re.findall(r"`+", mermaid)), default=0)
    fence = "`" * max(3, longest + 1)  # nothing in the diagram can close it
    text = f"## Family tree\n\n{fence}mermaid\n{mermaid.strip()}\n{fence}"
    return with_part(card, _NAME, "the family tree", text)
