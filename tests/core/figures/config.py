"""Which pieces there are, which of them fail, and what is published."""

from pathlib import Path
from typing import ClassVar

from llmcourse.core.artifact import HubKind
from llmcourse.core.config import CommandConfig
from llmcourse.core.model import ModelRef


class Config(CommandConfig):
    NOT_COMPUTED: ClassVar[frozenset[str]] = frozenset(
        {"output", "hub", "gist", "partial", "failing", "waits"}
    )
    HUB_KIND: ClassVar[HubKind] = "dataset"
    PUBLISHES: ClassVar[frozenset[str]] = frozenset({"hub", "gist"})

    pieces: tuple[str, ...] = ("a", "b")
    failing: str | None = None  # a file that holds the names of the pieces that fail
    partial: bool = False
    waits: bool = True
    gist: str | None = None  # a folder in place of a service: it publishes when the folder is there

    def models(self) -> dict[str, ModelRef]:
        return {}

    def publishes_partial(self) -> bool:
        return self.partial

    @property
    def failing_pieces(self) -> list[str]:
        return Path(self.failing).read_text().split() if self.failing else []
