"""Content by sha256 on disk: regular files, LFS objects, and xet files once they are assembled.

Everything streams; nothing here knows about repositories.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

COPY_BYTES = 1 << 20


class ChecksumMismatch(Exception):
    """The content received is not the content announced."""


class BlobStore:
    """Files named by the sha256 of their content, under `<root>/blobs`."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "blobs"
        self._incoming = root / "incoming"
        self._folder.mkdir(parents=True, exist_ok=True)
        # What an earlier process left half-received can never be completed.
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir()

    def path(self, sha256: str) -> Path:
        """Where the content lies (or would lie)."""
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        return self.path(sha256).exists()

    def put_bytes(self, data: bytes) -> str:
        """Store a small content and return its sha256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            temporary = self.temporary()
            temporary.write_bytes(data)
            self._keep(temporary, sha256)
        return sha256

    def put_stream(self, source: BinaryIO, expected: str | None = None) -> str:
        """Store a content of any size; an interrupted or wrong one leaves nothing behind."""
        temporary = self.temporary()
        try:
            with temporary.open("wb") as out:
                digest = copy_hashing(source, out)
            if expected is not None and digest != expected:
                raise ChecksumMismatch(f"Received {digest}, expected {expected}")
            self._keep(temporary, digest)
        finally:
            temporary.unlink(missing_ok=True)
        return digest

    def put_made(self, sha256: str, make: Callable[[Path], None]) -> Path:
        """Let `make` write the content to a temporary file, check it and keep it."""
        temporary = self.temporary()
        try:
            make(temporary)
            with temporary.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            if digest != sha256:
                raise ChecksumMismatch(f"Made {digest}, expected {sha256}")
            self._keep(temporary, sha256)
        finally:
            temporary.unlink(missing_ok=True)
        return self.path(sha256)

    def temporary(self) -> Path:
        """A fresh path on the same file system."""
        return self._incoming / uuid.uuid4().hex

    def parts_folder(self, sha256: str) -> Path:
        """Where the parts of a multipart upload gather."""
        return self._incoming / f"parts-{sha256}"

    def _keep(self, temporary: Path, sha256: str) -> None:
        target = self.path(sha256)
        target.parent.mkdir(exist_ok=True)
        temporary.replace(target)


def copy_hashing(source: BinaryIO, out: BinaryIO) -> str:
    """Copy `source` to `out` and return the sha256 of what went through."""
    digest = hashlib.sha256()
    while block := source.read(COPY_BYTES):
        digest.update(block)
        out.write(block)
    return digest.hexdigest()


def git_blob_oid(data: bytes) -> str:
    """The git object id of a blob: the `oid` and ETag of a regular file on the Hub."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text git stores in place of a large file. Source: git-lfs docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
