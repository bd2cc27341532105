"""A card that says nothing."""

from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata
from llmcourse.core.plan import Facts
from tests.core.figures.config import Config


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    return Card(CardMetadata(library_name="", tags=["figures"]), {"repo": repo})
