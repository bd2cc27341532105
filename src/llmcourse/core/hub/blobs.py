"""Whether copies in the cache are what the Hub sent: the client keeps each under its hash, and trusts it.

A disk's flipped bit, or half a copy of somebody's backup, would else become a result that nobody can explain.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from llmcourse.core.cache import cache_folder
from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress, Step
from llmcourse.core.workspace import write_text

_BLOCK = 1 << 22
_TOLD_BYTES = 500_000_000  # takes half a second and more
_SHA1_DIGITS, _SHA256_DIGITS = 40, 64


def damaged(folder: Path, names: Iterable[str], progress: Progress | None = None) -> list[str]:
    """Those of `names`, in a snapshot of the client's cache, whose content is not what their blob is called.

    Each blob is hashed once for each inode, size and time of modification; that it was right is kept in
    $LLMCOURSE_CACHE.  Files without a blob (where a system has no links) cannot be told.
    """
    unknown = [name for name in names if (blob := _blob(folder / name)) and not _is_known(blob)]
    total = sum((folder / name).stat().st_size for name in unknown)
    if progress is None or total < _TOLD_BYTES:
        return list(_wrong(folder, unknown, lambda _: None))
    with progress.step("check the cache", total, "B") as step:
        return list(_wrong(folder, unknown, _counting(step)))


def remove(folder: Path, names: Iterable[str], model: str) -> None:
    """Delete the damaged copies, so that the client asks for them again.

    Raises:
        PlanError: they belong to somebody else.
    """
    for name in names:
        blob = _blob(folder / name) or folder / name
        stored = blob.resolve()
        try:
            stored.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise PlanError(
                f"{name} of {model} is damaged in the cache, and {blob} cannot be deleted "
                f"({error.strerror}).",
                "Have its owner delete it, or set HF_HOME to a folder of yours.",
                where=model,
            ) from error


def _counting(step: Step) -> Callable[[int], None]:
    lock = threading.Lock()

    def count(amount: int) -> None:
        with lock:
            step.advance(amount)

    return count


def _wrong(folder: Path, names: list[str], count: Callable[[int], None]) -> Iterator[str]:
    with ThreadPoolExecutor(2) as pool:  # hashing leaves the interpreter to others
        verdicts = pool.map(lambda name: _is_whole(folder / name, count), names)
        yield from (name for name, is_whole in zip(names, verdicts, strict=True) if not is_whole)


def _blob(path: Path) -> Path | None:
    """The blob that a snapshot's file is a link to, if it is called by a hash: git's, or LFS's sha256.

    A file that came over Xet goes on from there, to a store of all models under Xet's own hash, which is of
    chunks and not of the file (huggingface_hub 2.4): its name says nothing about the content.
    """
    if not path.is_symlink():
        return None
    blob = path.parent / path.readlink()
    is_hash = len(blob.name) in (_SHA1_DIGITS, _SHA256_DIGITS) and not set(blob.name) - set(
        "0123456789abcdef"
    )
    return blob if is_hash and blob.is_file() else None


def _is_whole(path: Path, count: Callable[[int], None]) -> bool:
    blob = _blob(path)
    assert blob, "only those that have one are asked about"
    seal = _seal(blob)  # before it is read: what changes meanwhile is read again next time
    is_git = len(blob.name) == _SHA1_DIGITS
    digest = hashlib.sha1(usedforsecurity=False) if is_git else hashlib.sha256()
    if is_git:
        digest.update(b"blob %d\0" % blob.stat().st_size)
    with blob.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            count(len(block))
    if digest.hexdigest() != blob.name:
        return False
    with suppress(OSError):  # a cache that cannot be written costs the hashing each time
        place = _place(blob)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text(place, seal)
    return True


def _is_known(blob: Path) -> bool:
    """Whether just this file was found whole before."""
    try:
        return _place(blob).read_text(encoding="utf-8") == _seal(blob)
    except OSError:
        return False


def _seal(blob: Path) -> str:
    stat = blob.stat()
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}\n"


def _place(blob: Path) -> Path:
    """By its hash and its inode: two caches may hold the same."""
    return cache_folder() / "checked" / f"{blob.name}-{blob.stat().st_ino}"
