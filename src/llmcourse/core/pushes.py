"""What of a result goes to which place on the Hub: a piece meanwhile, a piece to its own place, all of it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from llmcourse.core.artifact import MANIFEST_NAME, Artifact, HubLocation, OutputFile
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.planning import Planning
from llmcourse.core.progress import Progress
from llmcourse.core.workspace import save_artifact


@dataclass(frozen=True)
class Pushes:
    """Of one execution. Each method raises PublishError."""

    planning: Planning
    progress: Progress

    def piece(self, artifact: Artifact, folder: Path, piece: str) -> None:
        """One commit with this piece, the card so far if there is one, and a manifest of all that is there,
        by which a killed push goes on.
        """
        target = self.planning.target
        assert not isinstance(target, LlmcourseError), "the plan refuses such a target"
        # Without times, so that the manifest of the same files is the same, and no new commit.
        partial = replace(artifact, timings_s={})
        save_artifact(folder, partial)
        own = [file for file in artifact.files if file.piece == piece or file.path in artifact.written]
        sent = replace(partial, files=(*own, OutputFile.of(folder, MANIFEST_NAME)))
        name = piece.partition(":")[0]
        self.planning.hub.push(folder, sent, target, self.progress, name)

    def part(self, artifact: Artifact, folder: Path, piece: str) -> HubLocation:
        """Publish a piece to its own place, whose root then holds what is in the folder of its name."""
        wish = self.planning.places([piece])[piece]
        # The plan looked at the places of its own pieces; this may be one of an earlier run.
        check = self.planning.push_check(wish, artifact.fingerprint)
        if check.status == "fail":
            raise check.error()
        part = artifact.part(piece)
        save_artifact(folder / piece, part)
        sent = replace(part, files=(*part.files, OutputFile.of(folder / piece, MANIFEST_NAME)))
        target = self.planning.target_at(wish)
        location: HubLocation = self.planning.hub.push(folder / piece, sent, target, self.progress)
        return location

    def whole(self, artifact: Artifact) -> Artifact:
        """Publish what is in the output folder, and say there where it is."""
        assert not isinstance(self.planning.target, LlmcourseError), "the plan refuses such a target"
        begin = time.monotonic()
        output = self.planning.output
        own = self.planning.places(sorted(artifact.pieces))
        places = {piece: self.part(artifact, output, piece) for piece in own}
        artifact = replace(artifact, places=places)
        unpublished = replace(artifact, hub=None, published={}, timings_s=_without_push(artifact.timings_s))
        save_artifact(output, unpublished)
        files = [file for file in artifact.files if file.path.partition("/")[0] not in places]
        files.append(OutputFile.of(output, MANIFEST_NAME))
        sent = replace(unpublished, files=tuple(files))
        location = self.planning.hub.push(output, sent, self.planning.target, self.progress)
        seconds = round(time.monotonic() - begin, 3)
        kept = tuple(
            replace(file, is_local=False) if self.releases(file) else file for file in artifact.files
        )
        timings_s = unpublished.timings_s | {"push": seconds}
        published = replace(artifact, files=kept, hub=location, timings_s=timings_s)
        save_artifact(output, published)
        for file in kept:
            if not file.is_local:
                (output / file.path).unlink(missing_ok=True)
        return published

    def releases(self, file: OutputFile) -> bool:
        """Whether the file is deleted here once it was published."""
        return self.planning.config.releases(file.path)


def _without_push(timings_s: dict[str, float]) -> dict[str, float]:
    """The published manifest must not change from push to push, or each would be a new commit."""
    return {step: seconds for step, seconds in timings_s.items() if step != "push"}
