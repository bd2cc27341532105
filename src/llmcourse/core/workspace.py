"""Where a result grows before it has its name: staging folder, lock, manifest, atomic publication.

Beside the output folder `out` there is `.out.llmcourse/` while a run is under way:

    run.json   the run's fingerprint and every finished file (the next run continues after them)
    files/     what becomes `out`, by one rename, when everything is there
    scratch/   intermediate things, deleted with the staging folder

Nothing is cleaned up by code that a kill could skip: a killed run leaves exactly this folder, and the
same command takes it up again.  Finished files are re-hashed then, so no fsync is needed for trust.
"""

import json
import os
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llmcourse.core.artifact import MANIFEST_NAME, Artifact, OutputFile, sha256_of
from llmcourse.core.errors import PlanError

_LOCK, _REPLACED = "lock", "replaced"


class Workspace:
    """The staging folder of one output folder for one fingerprint."""

    def __init__(self, output: Path, fingerprint: str) -> None:
        self.output = output.absolute()
        self.fingerprint = fingerprint
        self.staging = self.output.parent / f".{self.output.name}.llmcourse"
        self.files = self.staging / "files"
        self.scratch = self.staging / "scratch"
        self.done: list[OutputFile] = []
        self._lock = threading.RLock()  # uploads release files in a thread of their own

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the staging folder alone; what an interrupted run of the same fingerprint left is kept.

        Raises:
            PlanError: another process works on this output, or the place cannot be written.
        """
        with self.alone():
            self._take_up()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process of ours write to this output; the staging folder is there meanwhile.

        Raises:
            PlanError: another one does, or the place cannot be written.
        """
        lock = self._locked()
        try:
            yield
        finally:
            if {path.name for path in self.staging.iterdir()} == {_LOCK}:
                shutil.rmtree(self.staging)
            lock.release()

    def _locked(self) -> FileLock:
        lock = FileLock(self.staging / _LOCK, timeout=0)
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise PlanError(
                f"Another llmcourse process is writing {self.output.name}.",
                "Wait for it to end, or choose another folder with -o.",
                where=str(self.output),
            ) from None
        except PermissionError as error:
            raise PlanError(
                f"{error.filename} cannot be written.", "Choose a folder of yours with -o.", str(self.output)
            ) from None
        return lock

    def _take_up(self) -> None:
        record = _read_json(self.staging / "run.json")
        if record.get("fingerprint") != self.fingerprint:
            for leftover in (self.files, self.scratch):
                if leftover.exists():
                    shutil.rmtree(leftover)
            record = {}
        for folder in (self.files, self.scratch):
            folder.mkdir(exist_ok=True)
        try:
            recorded = [OutputFile(**item) for item in record.get("files", [])]
        except TypeError:
            recorded = []  # written by nobody we know: the work is done anew
        self.done = [file for file in recorded if self._is_whole(file)]
        self._take_up_output()
        self._save()

    def _take_up_output(self) -> None:
        """Pieces that an earlier run of this fingerprint published here need not be made again."""
        artifact = read_artifact(self.output)
        if artifact is None or artifact.fingerprint != self.fingerprint:
            return
        known = {file.path for file in self.done}
        for file in artifact.files:
            source, place = self.output / file.path, self.files / file.path
            if not file.piece or file.path in known:
                continue
            if file.is_local and source.is_file():
                share(source, place)
            if self._is_whole(file):
                self.done.append(file)

    def _is_whole(self, file: OutputFile) -> bool:
        return is_as_made(self.files, file)

    def commit(self, file: OutputFile) -> None:
        """Record a finished file; from now on no run makes it again."""
        with self._lock:
            self.done = [*(known for known in self.done if known.path != file.path), file]
            self._save()

    def release(self, file: OutputFile) -> None:
        """Delete a file that was published and verified; it stays part of the result."""
        with self._lock:
            known = next((known for known in self.done if known.path == file.path), file)
            self.commit(replace(known, is_local=False))
            (self.files / file.path).unlink(missing_ok=True)

    def _save(self) -> None:
        files = [file.as_json() | {"state": file.state} for file in self.done]
        write_json(self.staging / "run.json", {"fingerprint": self.fingerprint, "files": files})

    def finished(self, pieces: Iterable[str] = ()) -> Artifact | None:
        """The artifact of an earlier run with this fingerprint, if all its files are still there.

        Texts (the card, the recipe) may have been edited or deleted since; that undoes no result.  A
        result that lacks one of `pieces` is not finished: the run extends it.
        """
        artifact = read_artifact(self.output)
        if artifact is None or artifact.fingerprint != self.fingerprint or set(pieces) - artifact.pieces:
            return None
        weights = [file for file in artifact.files if file.is_local and not is_text(file.path)]
        paths = [(self.output / file.path, file.size) for file in weights]
        is_whole = all(path.is_file() and path.stat().st_size == size for path, size in paths)
        return replace(artifact, cached=True) if is_whole and not self.changed() else None

    def changed(self) -> list[str]:
        """Weights of the result in place that were changed since; only those that are newer are read."""
        artifact = read_artifact(self.output)
        if artifact is None:
            return []
        made = (self.output / MANIFEST_NAME).stat().st_mtime_ns
        found = []
        for file in artifact.files:
            path = self.output / file.path
            if not file.is_local or is_text(file.path) or not path.is_file():
                continue
            if path.stat().st_mtime_ns > made and not is_as_made(self.output, file):
                found.append(file.path)
        return found

    def staged_bytes(self) -> int:
        """Bytes that a run of this fingerprint will find in the staging folder."""
        record = _read_json(self.staging / "run.json")
        if record.get("fingerprint") != self.fingerprint:
            return 0
        kept = [*self.files.rglob("*"), *self.scratch.rglob("*")]
        return sum(path.stat().st_blocks * 512 for path in kept if path.is_file())

    def publish(self, artifact: Artifact) -> None:
        """Give the staged files their final name; the manifest is written last, before the rename."""
        save_artifact(self.files, artifact)
        if self.output.exists() and any(self.output.iterdir()):
            # Only an older result of ours gets here (the plan refuses anything else).
            self.output.rename(self.staging / _REPLACED)
        self.files.replace(self.output)

    def clean(self) -> None:
        """Empty the staging folder after publication; what others put into a replaced output is kept."""
        self._restore_foreign()
        for path in self.staging.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()

    def _restore_foreign(self) -> None:
        """Bring back what was in the replaced output and is not ours, and texts of the same result."""
        replaced = self.staging / _REPLACED
        artifact = read_artifact(replaced)
        if artifact is None:
            return
        ours = {file.path for file in artifact.files} | {MANIFEST_NAME}
        ours |= {f"{piece}/{MANIFEST_NAME}" for piece in artifact.pieces}
        is_same_result = artifact.fingerprint == self.fingerprint
        for name, path in _entries(replaced, {Path(name).parent.as_posix() for name in ours}):
            place = self.output / name
            if is_same_result and is_text(name):
                if artifact.written.get(name) != sha256_of(path):
                    path.replace(place)  # what a person changed is theirs
            elif name not in ours:
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place.with_name(f"{place.name}.kept") if place.exists() else place)


def share(source: Path, place: Path) -> None:
    """The same file under another name, without its bytes twice where the file system can."""
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, place)
    except OSError:  # a file system without hard links
        shutil.copy2(source, place)


def _entries(folder: Path, opened: Collection[str], prefix: str = "") -> Iterator[tuple[str, Path]]:
    """What is in a folder by its name from there, looking into those of its folders that are `opened`."""
    for path in folder.iterdir():
        name = prefix + path.name
        if path.is_dir() and name in opened:
            yield from _entries(path, opened, f"{name}/")
        else:
            yield name, path


def is_as_made(folder: Path, file: OutputFile) -> bool:
    """Whether a folder holds this file as it was made; one that is not here any more is the Hub's affair."""
    if not file.is_local:
        return True
    path = folder / file.path
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return _sha256_at(path, file.size, path.stat().st_mtime_ns) == file.sha256


@cache
def _sha256_at(path: Path, size: int, modified_ns: int) -> str:
    """Hashed once a process: a plan asks several times."""
    return sha256_of(path)


def is_text(name: str) -> bool:
    """Whether a file is a text that people edit beside the weights."""
    return name.endswith((".md", ".yml", ".yaml"))


def read_artifact(folder: Path) -> Artifact | None:
    """The artifact a folder holds, None if it is not one of ours."""
    data = _read_json(folder / MANIFEST_NAME)
    try:
        return replace(Artifact.from_json(data), path=str(folder))
    except (KeyError, TypeError):
        return None


def save_artifact(folder: Path, artifact: Artifact) -> None:
    """Write the manifest. It is published, so it says nothing of this machine's folders."""
    document = replace(artifact, path=".", cached=False).as_json()
    del document["reference"], document["cached"]
    write_json(folder / MANIFEST_NAME, document)


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file in one step: a reader never sees half of it."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def share_files(folder: Path) -> None:
    """Give files the rights of their folder: safetensors 0.8 writes such that only their owner may read."""
    for path in filter(Path.is_file, folder.iterdir()):
        path.chmod(folder.stat().st_mode & 0o666)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step, unless it says this already."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # Absent or torn by a kill: then nothing is recorded, and the work is done anew.
        return {}
    return data if isinstance(data, dict) else {}
