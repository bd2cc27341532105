"""Xorbs whose upload was killed before their shard came: finds out which chunks they hold.

Uploaded xorbs do not carry chunk hashes (keyed BLAKE3, not in the standard library), so `hf_xet`
computes them: the xorb is unpacked through the hub's own CAS and its chunks are uploaded to a
throw-away CAS, whose shards tell the hashes.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from llmcourse.testing.hub.xet_format import (
    Shard,
    Term,
    XetFile,
    XorbInfo,
    parse_shard,
    unpacked_sizes,
    xorb_info,
)
from llmcourse.testing.hub.xet_store import XetStore

_TIMEOUT_S = 300


class OrphanIndexer:
    """Describes orphan xorbs to the store, one at a time, when a client asks for a chunk nobody knows."""

    def __init__(self, store: XetStore, root: Path) -> None:
        self._store = store
        self._folder = root / "xet" / "orphans"
        self._lock = threading.Lock()
        self._files: dict[str, XetFile] = {}
        self._chunks: dict[str, tuple[str, ...]] = {}

    def index_all(self, asked_by: str) -> None:
        """Describe every orphan that the asking run of a client did not upload itself."""
        with self._lock:
            for xorb in self._store.orphans(asked_by):
                self._store.describe(self._describe(xorb))

    def take_shard(self, data: bytes) -> None:
        """Note what the throw-away CAS is told."""
        shard: Shard = parse_shard(data)
        self._files.update((file.hash, file) for file in shard.files)
        self._chunks.update((xorb.hash, xorb.chunks) for xorb in shard.xorbs)

    def _describe(self, xorb: str) -> XorbInfo:
        path = self._store.xorb_path(xorb)
        sizes = unpacked_sizes(path)
        # The CAS rebuilds any list of terms, so a file made of the whole xorb unpacks it.
        whole = XetFile(xorb, None, (Term(xorb, sum(sizes), 0, len(sizes)),))
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = self._folder / xorb
        try:
            self._store.assemble(whole, plain)
            terms = [self._files[file].terms[0] for file in self._hash_chunks(plain, sizes)]
        finally:
            shutil.rmtree(self._folder)
        return xorb_info(xorb, path, [self._chunks[term.xorb][term.first] for term in terms])

    def _hash_chunks(self, plain: Path, sizes: list[int]) -> list[str]:
        order = {
            "plain": str(plain),
            "sizes": sizes,
            "cas_url": self._store.cas_url,
            "token": self._store.cas_token,
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        result = subprocess.run(
            [sys.executable, "-m", "llmcourse.testing.hub.xet_worker"],
            input=json.dumps(order),
            env={**own, "HF_HOME": str(self._folder / "home"), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        if result.returncode != 0:
            raise RuntimeError(f"hashing chunks failed: {result.stderr}")
        hashes: list[str] = json.loads(result.stdout)
        return hashes
