"""Xorbs and shards on disk, and the index over them: files by sha256 and by Xet hash, xorbs by chunk.

Chunks stay packed as they came; `hf_xet` itself, reading from this hub, assembles a file when
someone wants it plainly.
"""

import hashlib
import importlib
import shutil
import threading
import uuid
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from llmcourse.testing.hub.xet_format import Shard, XetFile, XorbInfo, chunk_offsets, dedup_shard, parse_shard


class XetStore:
    """The CAS under `<root>/xet`; the index is rebuilt from the shards at the start."""

    def __init__(self, root: Path) -> None:
        self._xorbs = root / "xet" / "xorbs"
        self._shards = root / "xet" / "shards"
        self._xorbs.mkdir(parents=True, exist_ok=True)
        self._shards.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, XetFile] = {}
        self._by_sha256: dict[str, XetFile] = {}
        self._known_xorbs: dict[str, XorbInfo] = {}
        self._known_chunks: set[str] = set()
        self._uploader: dict[str, str] = {}
        self._lock = threading.Lock()
        self._assembling = threading.Lock()
        self.cas_url = ""
        self.cas_token = ""
        for path in sorted(self._shards.iterdir()):
            self._index(parse_shard(path.read_bytes()))

    def file_of(self, sha256: str) -> XetFile | None:
        return self._by_sha256.get(sha256)

    def file(self, xet_hash: str) -> XetFile | None:
        return self._files.get(xet_hash)

    def xorb_path(self, xorb: str) -> Path:
        return self._xorbs / xorb

    def put_xorb(self, xorb: str, body: BinaryIO, run: str) -> bool:
        """Store a xorb that `run` of a client uploads; False if it was there already."""
        target = self.xorb_path(xorb)
        existed = target.exists()
        temporary = self._xorbs.parent / f"{uuid.uuid4().hex}.incoming"
        try:
            with temporary.open("wb") as out:
                shutil.copyfileobj(body, out, 1 << 20)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        self._uploader[xorb] = run
        return not existed

    def put_shard(self, data: bytes) -> Shard:
        """Store and index a shard, which makes its files known.

        Raises:
            ValueError: it is no shard, or it names xorbs that were never uploaded.
        """
        shard = parse_shard(data)
        missing = {
            term.xorb for file in shard.files for term in file.terms if not self.xorb_path(term.xorb).exists()
        }
        if missing:
            raise ValueError(f"unknown xorbs: {sorted(missing)}")
        (self._shards / hashlib.sha256(data).hexdigest()).write_bytes(data)
        self._index(shard)
        return shard

    def _index(self, shard: Shard) -> None:
        with self._lock:
            for file in shard.files:
                self._files[file.hash] = file
                if file.sha256 is not None:
                    self._by_sha256[file.sha256] = file
        for xorb in shard.xorbs:
            self.describe(xorb)

    def describe(self, xorb: XorbInfo) -> None:
        """Learn which chunks a stored xorb holds."""
        with self._lock:
            self._known_xorbs[xorb.hash] = xorb
            self._known_chunks.update(xorb.chunks)

    def orphans(self, asked_by: str) -> list[str]:
        """Stored xorbs of unknown content, less those of the asking run, whose shard is still to come."""
        names = sorted(path.name for path in self._xorbs.iterdir())
        return [n for n in names if n not in self._known_xorbs and self._uploader.get(n) != asked_by]

    def dedup_answer(self, chunk: str) -> bytes | None:
        """The shard that tells a client which chunks need no upload; None if the chunk is unknown."""
        with self._lock:
            if chunk not in self._known_chunks:
                return None
            return dedup_shard(self._known_xorbs.values())

    def assemble(self, file: XetFile, target: Path) -> None:
        """Write a file's plain content to `target`, through `hf_xet` and this hub's own CAS."""
        # Loaded by name: it ships no types, and most hubs never assemble a file.
        hf_xet: Any = importlib.import_module("hf_xet")
        with self._assembling:
            # Not known to be a file of any shard: a xorb that is unpacked to hash its chunks.
            self._files.setdefault(file.hash, file)
            session: Any = hf_xet.XetSession()
            with session.new_file_download_group(
                endpoint=self.cas_url, token=self.cas_token, token_expiry_unix_secs=1 << 40
            ) as group:
                group.start_download_file(hf_xet.XetFileInfo(file.hash, file.size), str(target.absolute()))


def reconstruction(store: XetStore, file: XetFile, start: int, end: int, data_url: str) -> dict[str, Any]:
    """How to rebuild bytes `[start, end)` of a file: the answer of `GET /v1/reconstructions/<hash>`."""
    terms: list[dict[str, Any]] = []
    fetch: dict[str, list[dict[str, Any]]] = {}
    skipped = None
    ends = accumulate(term.size for term in file.terms)
    for term, term_end in zip(file.terms, ends, strict=True):
        term_start = term_end - term.size
        if term_end <= start or term_start >= end:
            continue
        skipped = start - term_start if skipped is None else skipped
        chunks = {"start": term.first, "end": term.last}
        terms.append({"hash": term.xorb, "unpacked_length": term.size, "range": chunks})
        offsets = chunk_offsets(store.xorb_path(term.xorb))
        entry = {
            "range": chunks,
            "url": f"{data_url}/{term.xorb}",
            "url_range": {"start": offsets[term.first], "end": offsets[term.last] - 1},
        }
        known = fetch.setdefault(term.xorb, [])
        if entry not in known:
            known.append(entry)
    return {"offset_into_first_range": skipped or 0, "terms": terms, "fetch_info": fetch}
