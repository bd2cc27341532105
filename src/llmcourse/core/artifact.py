"""What a command made: the JSON document of stdout, of `llmcourse.json`, and of pipes between commands."""

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

MANIFEST_NAME = "llmcourse.json"

HubKind = Literal["model", "dataset"]


@dataclass(frozen=True)
class OutputFile:
    """A finished file, relative to the output folder.

    `state` is what the adapter needs to go on after this file (for example a random generator's
    state); it lives in the staging manifest only.  `piece` names the part of the result that the file
    belongs to, where a run makes several that are of use by themselves; a key after a colon tells apart
    pieces of one name that were made of different things.  With `files_in_piece` files a piece is whole.
    `about` says what was measured of it.  A file that is not `is_local` was published, verified there,
    and deleted here.
    """

    path: str
    size: int
    sha256: str
    state: dict[str, Any] = field(default_factory=dict, compare=False)
    piece: str = ""
    about: dict[str, Any] = field(default_factory=dict)
    is_local: bool = True
    files_in_piece: int = 1

    @classmethod
    def of(
        cls, folder: Path, path: str, state: dict[str, Any] | None = None, piece: str = "",
        about: dict[str, Any] | None = None,
    ) -> "OutputFile":  # fmt: skip
        """Measure a file that is whole on disk."""
        full = folder / path
        return cls(path, full.stat().st_size, sha256_of(full), state or {}, piece, about or {})

    def as_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        data |= {"piece": self.piece} if self.piece else {}
        data |= {"about": self.about} if self.about else {}
        data |= {} if self.is_local else {"is_local": False}
        return data if self.files_in_piece == 1 else data | {"files_in_piece": self.files_in_piece}


@dataclass(frozen=True)
class HubLocation:
    """Where on the Hub the artifact is: `commit` is the full sha that holds exactly these files."""

    repo: str
    revision: str
    commit: str
    url: str
    kind: HubKind = "model"

    @property
    def reference(self) -> str:
        """As the Hub's own file system spells it."""
        return f"hf://{'datasets/' if self.kind == 'dataset' else ''}{self.repo}@{self.commit}"


@dataclass(frozen=True)
class Artifact:
    """The result of one command."""

    command: str
    path: str
    fingerprint: str
    files: tuple[OutputFile, ...]
    inputs: dict[str, str | None]  # model reference -> revision it was read at (None for a local folder)
    versions: dict[str, str]
    timings_s: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    # sha256 of the card and the texts beside it as llmcourse wrote them: one that differs was edited.
    written: dict[str, str] = field(default_factory=dict)
    hub: HubLocation | None = None
    # Pieces that are published to a place of their own; their folder is the root of it.
    places: dict[str, HubLocation] = field(default_factory=dict)
    # Address of each thing that the command published elsewhere, by its kind; told here alone.
    published: dict[str, str] = field(default_factory=dict)
    cached: bool = False

    @property
    def pieces(self) -> frozenset[str]:
        """Names of the pieces that are there."""
        return whole_pieces(self.files)

    @property
    def reference(self) -> str:
        """What the next command in a pipe reads: a Hub reference when pushed, else the folder.

        Where all that is of use lies in one place of its own, that place.
        """
        location = next(iter(self.places.values())) if len(self.places) == 1 else self.hub
        if self.hub and location:
            return location.reference
        return self.path

    def part(self, piece: str) -> "Artifact":
        """The artifact of a piece with a place of its own, as the root of that place holds it.

        It says nothing of times and of other pieces, so that the same piece has the same manifest.
        """
        folder = f"{piece}/"
        own = [file for file in self.files if file.path.startswith(folder)]
        files = tuple(
            replace(file, path=file.path.removeprefix(folder), piece="", files_in_piece=1)
            for file in sorted(own, key=lambda file: file.path)
        )
        return replace(self, files=files, timings_s={}, written={}, hub=None, places={}, published={})

    def as_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["files"] = [file.as_json() for file in self.files]
        data["reference"] = self.reference
        return data if self.published else {key: value for key, value in data.items() if key != "published"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Artifact":
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        known["files"] = tuple(OutputFile(**file) for file in data["files"])
        known["hub"] = HubLocation(**data["hub"]) if data.get("hub") else None
        known["places"] = {piece: HubLocation(**place) for piece, place in data.get("places", {}).items()}
        return cls(**known)


def whole_pieces(files: Collection[OutputFile]) -> frozenset[str]:
    """Names of the pieces of which every file is there."""
    wanted = {file.piece: file.files_in_piece for file in files if file.piece}
    present = Counter(file.piece for file in files)
    return frozenset(piece for piece, count in wanted.items() if present[piece] == count)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
