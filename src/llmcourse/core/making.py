"""Steps three to five of a command: run, card, publish. What an earlier run finished is taken as it is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from llmcourse.core.artifact import Artifact, OutputFile, sha256_of, whole_pieces
from llmcourse.core.card import Card, render
from llmcourse.core.console import Console, human_bytes
from llmcourse.core.errors import LibraryError, LlmcourseError, Problems, PublishError
from llmcourse.core.isolated import Job, Worker
from llmcourse.core.model import ModelFacts
from llmcourse.core.plan import Facts
from llmcourse.core.planning import Planning
from llmcourse.core.progress import WAITING, Advanced, Progress, Started
from llmcourse.core.pushes import Pushes
from llmcourse.core.uploads import Uploads
from llmcourse.core.workspace import Workspace, save_artifact, write_text

CARD_NAME = "README.md"
_BEING_COMPLETED = (
    "**Being completed:** more files are on their way; the last one brings the whole of this card."
)


class CardModule(Protocol):
    """What a command's card.py offers; `repo` is the Hub id it will be published under, if any.

    With `TELLS_OF_PARTS = True` in it the card is also asked for while parts of the result are missing, so
    that no repository stands without licence and origin until the last part is there.
    """

    def card(self, config: Any, facts: Facts, artifact: Artifact, repo: str | None, /) -> Card: ...


class PublishModule(Protocol):
    """What a command's publish.py offers where its results go to other places than the artifact's.

    It is called when the artifact has its name, and is on the Hub if it is to be there, also where all of
    that was done before: so it finds what it published.  It tells the address of each by its kind, and
    raises PublishError.
    """

    def after(
        self, config: Any, facts: Facts, artifact: Artifact, progress: Progress, /
    ) -> dict[str, str]: ...


class InterruptModule(Protocol):
    """What a command's interrupted.py offers where more than files and its child is to be seen to.

    It is called on Ctrl-C while the command runs, when the child has ended, with the child's scratch folder;
    it says what there is to say and does not take long.  Another Ctrl-C ends it.
    """

    def after(self, scratch: Path, progress: Progress, /) -> None: ...


@dataclass
class Making:
    """Steps three to five of one execution: run, card, publish."""

    planning: Planning
    package: str
    console: Console
    card_writer: CardModule
    worker: Worker
    publisher: PublishModule | None = None
    interrupted: InterruptModule | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    failure: LibraryError | None = None  # of some pieces, while others were made

    @cached_property
    def progress(self) -> Progress:
        return Progress(self.console.event)

    @cached_property
    def _pushes(self) -> Pushes:
        return Pushes(self.planning, self.progress)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.timings_s[step] = round(time.monotonic() - begin, 3)

    def artifact(self) -> Artifact:
        """Make what is not made yet, publish what is not published yet."""
        workspace = Workspace(self.planning.output, self.planning.fingerprint)
        with workspace.opened():
            artifact = workspace.finished(self.planning.plan.pieces) or self._make(workspace)
            workspace.clean()
            artifact = self._with_current_card(artifact)
            try:
                artifact = self._published(artifact)
            except LlmcourseError as error:
                if self.failure:
                    raise Problems([self.failure, error]) from error
                raise
        if self.failure:
            raise self.failure
        return artifact

    def _published(self, artifact: Artifact) -> Artifact:
        wishes = self.planning.config
        if self.failure and not wishes.publishes_partial():
            if self.planning.push_wish or wishes != wishes.unpublished():
                self.console.note("! Nothing is published, since parts of the result are missing.")
            return artifact
        artifact = self._pushes.whole(artifact) if self.planning.push_wish else artifact
        if self.publisher is None or self.planning.request.no_push:
            return artifact
        places = self.publisher.after(wishes, self.planning.facts, artifact, self.progress)
        if places:
            artifact = replace(artifact, published=places)
            save_artifact(self.planning.output, artifact)
        return artifact

    def _make(self, workspace: Workspace) -> Artifact:
        self._announce()
        with self.timed("download"):
            inputs = {name: self._local_folder(name) for name in self.planning.config.models()}
        with self.timed("run"):
            try:
                self._run(workspace, inputs)
            except LibraryError as error:
                if not whole_pieces(workspace.done):
                    raise
                self.failure = error  # told when what was made has its card and its name
        self._refuse_incomplete(workspace)
        artifact = self._write_card(self._artifact_of(workspace.done), workspace.files)
        workspace.publish(artifact)
        return artifact

    def _refuse_incomplete(self, workspace: Workspace) -> None:
        """What is not all there gets no final name, whatever the adapter thinks of it."""
        missing = set(self.planning.plan.pieces) - whole_pieces(workspace.done)
        if missing and not self.failure:
            raise LibraryError(
                f"The run ended without {', '.join(sorted(missing))}.",
                "Run the same command again; if it ends so again, delete the output folder first.",
            )

    def _artifact_of(self, files: Sequence[OutputFile]) -> Artifact:
        return Artifact(
            command=self.planning.name,
            path=str(self.planning.output),
            fingerprint=self.planning.fingerprint,
            files=tuple(files),
            inputs={_public_name(facts): facts.revision for facts in self._models()},
            versions=self.planning.versions,
            timings_s=self.timings_s,
            details=self.planning.plan.settings,
        )

    def _announce(self) -> None:
        for check in self.planning.plan.checks:
            if check.status == "warn":
                self.console.note(f"! {check.name}: {check.what} {check.fix}".rstrip())
        summary = ", ".join(f"{name} {value}" for name, value in self.planning.plan.summary)
        size = human_bytes(self.planning.plan.estimate.write)
        self.console.note(f"{self.planning.name}: {summary}; {size} to write to {self.planning.output}")

    def _models(self) -> list[ModelFacts]:
        return [facts for facts in self.planning.facts.models.values() if isinstance(facts, ModelFacts)]

    def _local_folder(self, name: str) -> str:
        facts = self.planning.facts.models[name]
        assert isinstance(facts, ModelFacts), "the plan refuses models that cannot be read"
        if facts.ref.is_local:
            return str(facts.ref.place)
        more = self.planning.plan.settings.get("download", ())
        if name in self.planning.plan.labels.get("without_weights", ()):
            return str(self.planning.hub.download_small(facts, more, self.console.note))
        return str(self.planning.hub.download(facts, self.progress, more))

    def _run(self, workspace: Workspace, inputs: dict[str, str]) -> None:
        job = Job(
            config=self.planning.config.model_dump(mode="json"),
            settings=self.planning.plan.settings | self.planning.plan.labels,
            inputs=inputs,
            files=workspace.files,
            scratch=workspace.scratch,
            done=tuple(workspace.done),
        )
        try:
            self._work(job, workspace)
        except KeyboardInterrupt:
            if self.interrupted:
                self.worker.stop()
                self.interrupted.after(workspace.scratch, self.progress)
            raise

    def _work(self, job: Job, workspace: Workspace) -> None:
        """Have the child do it, and publish pieces meanwhile where they are of use by themselves."""
        is_alone = not self.planning.push_wish or not self.planning.plan.pieces
        if is_alone or not self.planning.config.publishes_partial():
            self._follow(job, workspace, None)
            return
        uploads = Uploads(
            lambda piece, files: self._publish_piece(workspace, piece, files),
            lambda file: workspace.release(file) if self._pushes.releases(file) else None,
            self.console.note,
        )
        with uploads.running():
            whole = whole_pieces(workspace.done)
            for piece in dict.fromkeys(file.piece for file in workspace.done if file.piece in whole):
                uploads.add(piece, workspace.done)
            self._follow(job, workspace, uploads)

    def _follow(self, job: Job, workspace: Workspace, uploads: Uploads | None) -> None:
        """Record each file as it is finished, and publish it meanwhile where it is of use by itself."""
        for message in self.worker.run(job):
            waits = isinstance(message, Started | Advanced) and message.step.startswith(WAITING)
            if waits and uploads and uploads.has_failed:
                raise PublishError(
                    "What cannot be published now would fill the disk, since it is to be deleted only then.",
                    "Run the same command again when the Hub can be reached; it goes on from here.",
                )
            if not isinstance(message, OutputFile):
                self.console.event(message)
                continue
            before = {(file.path, file.sha256) for file in workspace.done}
            workspace.commit(message)
            is_new = (message.path, message.sha256) not in before
            if uploads and is_new and message.piece in whole_pieces(workspace.done):
                uploads.add(message.piece, workspace.done)

    def _publish_piece(self, workspace: Workspace, piece: str, files: Sequence[OutputFile]) -> None:
        artifact = self._artifact_of(files)
        if self.planning.places([piece]):
            self._pushes.part(self._write_card(artifact, workspace.files), workspace.files, piece)
        else:
            if getattr(self.card_writer, "TELLS_OF_PARTS", False):
                artifact = self._write_card(artifact, workspace.files, note=_BEING_COMPLETED)
            self._pushes.piece(artifact, workspace.files, piece)

    def _card_texts(self, artifact: Artifact) -> dict[str, str]:
        """The card, and the texts that belong beside it, by file name."""
        repo = self.planning.repo or (artifact.hub.repo if artifact.hub else None)
        card = self.card_writer.card(self.planning.config, self.planning.facts, artifact, repo)
        return {CARD_NAME: render(card, self.package), **card.files}

    def _write_card(self, artifact: Artifact, folder: Path, note: str = "") -> Artifact:
        """Write the card and the texts beside it; `note` comes below the card's title."""
        if not self.planning.plan.settings.get("write_card", True):
            return artifact
        texts = self._card_texts(artifact)
        if note:
            texts[CARD_NAME] = _with_note(texts[CARD_NAME], note)
        written = dict(artifact.written)
        for name, text in texts.items():
            path = folder / name
            if path.is_file() and name in written and sha256_of(path) != written[name]:
                continue  # what a person changed is theirs
            write_text(path, text)
            written[name] = sha256_of(path)
        others = tuple(file for file in artifact.files if file.path not in texts)
        files = (*others, *(OutputFile.of(folder, name) for name in texts))
        return replace(artifact, files=files, written=written)

    def _with_current_card(self, artifact: Artifact) -> Artifact:
        """Bring the card of a finished result up to what the config says now (tags, licence, …)."""
        current = self._write_card(artifact, self.planning.output)
        if current != artifact:
            save_artifact(self.planning.output, current)
        return current


def _with_note(card: str, note: str) -> str:
    """The card with a quoted note below its title."""
    head, title, body = card.partition("\n# ")
    heading, end, rest = body.partition("\n")
    return f"{head}{title}{heading}{end}\n> {note}\n{rest}"


def _public_name(facts: ModelFacts) -> str:
    """A name for the published manifest: a Hub id, or a folder's own name without the way to it."""
    return facts.hub_id or facts.ref.folder.absolute().name
