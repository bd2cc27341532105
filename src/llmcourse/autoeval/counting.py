"""What a model was not shown, or did not finish, while it answered: counted, so that a table can say it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Counts:
    """Since the last `begin`: prompts that lost tokens at their front, how many tokens that were, and answers
    whose thought did not end."""

    prompts: int = 0
    tokens: int = 0
    unfinished: int = 0

    def begin(self) -> None:
        self.prompts = self.tokens = self.unfinished = 0

    def cut(self, lost: Iterable[int]) -> None:
        """Of each prompt the tokens that did not fit; less than one is none."""
        for tokens in lost:
            if tokens > 0:
                self.prompts += 1
                self.tokens += tokens
