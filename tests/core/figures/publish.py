"""To a folder in place of a service; it counts how often it was asked."""

import json
from pathlib import Path

from llmcourse.core.artifact import Artifact
from llmcourse.core.errors import PublishError
from llmcourse.core.plan import Facts
from llmcourse.core.progress import Progress
from tests.core.figures.config import Config


def after(config: Config, facts: Facts, artifact: Artifact, progress: Progress) -> dict[str, str]:
    if config.gist is None:
        return {}
    place = Path(config.gist)
    if not place.is_dir():
        raise PublishError("The service is away.", "Run the same command again.", "gist")
    seen = {"pieces": sorted(artifact.pieces), "hub": artifact.hub.commit if artifact.hub else None}
    (place / f"{len(list(place.iterdir()))}.json").write_text(json.dumps(seen))
    return {"gist": "https://gist.example/secret"}
