"""The binary formats of Xet storage: just what a CAS must read from uploads and write for deduplication.

Chunk contents stay opaque. Source: xet-core 1.8 `xet_core_structures` (`metadata_shard`,
`xorb_object`) and the Xet protocol specification, huggingface.co/docs/xet.
"""

import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

_MAGIC = b"HFRepoMetaData\0" + bytes(
    [85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169]
)
_HEADER = struct.Struct("<32sQQ")
# Version, two section offsets, three (offset, count) lookup tables, HMAC key, creation and expiry
# times, 48 unused bytes, three byte counts, and the footer's own offset.
_FOOTER = struct.Struct("<9Q32s2Q48x4Q")
_XORB_HEADER = struct.Struct("<32s4I")
_CHUNK_ROW = struct.Struct("<32s2I8x")
_KEY_LIFE_S = 7 * 86400
_BOOKEND = b"\xff" * 32
_ROW_BYTES = 48
_FLAG_VERIFICATION = 1 << 31
_FLAG_METADATA = 1 << 30
_CHUNK_HEADER_BYTES = 8


@dataclass(frozen=True)
class Term:
    """A run of chunks `[first, last)` of one xorb, `size` bytes once unpacked."""

    xorb: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class XetFile:
    """A file as a shard describes it."""

    hash: str
    sha256: str | None
    terms: tuple[Term, ...]

    @property
    def size(self) -> int:
        return sum(term.size for term in self.terms)


@dataclass(frozen=True)
class XorbInfo:
    """A shard's block about one xorb: the raw rows (header, then one per chunk) and the chunk hashes."""

    hash: str
    rows: bytes
    chunks: tuple[str, ...]


@dataclass(frozen=True)
class Shard:
    files: tuple[XetFile, ...]
    xorbs: tuple[XorbInfo, ...]


def hash_bytes(text: str) -> bytes:
    """The inverse of `hash_text`."""
    return struct.pack("<4Q", *(int(text[at : at + 16], 16) for at in range(0, 64, 16)))


def hash_text(raw: bytes) -> str:
    """A Merkle hash as Xet prints it: four little-endian 64-bit words."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def parse_shard(data: bytes) -> Shard:
    """Read the file section and the xorb section of an uploaded shard.

    Raises:
        ValueError: this is no shard.
    """
    magic, version, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError(f"not a shard (version field {version})")
    rows = _Rows(data, _HEADER.size)
    files = tuple(_files(rows))
    return Shard(files, tuple(_xorbs(rows)))


class _Rows:
    """All shard records are 48 bytes, so a shard reads as a list of rows."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, count: int = 1) -> bytes:
        start = self._offset
        self._offset += count * _ROW_BYTES
        if self._offset > len(self._data):
            raise ValueError("the shard is cut short")
        return self._data[start : self._offset]


def _files(rows: _Rows) -> Iterator[XetFile]:
    while (header := rows.take())[:32] != _BOOKEND:
        flags, count = struct.unpack_from("<II", header, 32)
        terms = tuple(_term(rows.take()) for _ in range(count))
        if flags & _FLAG_VERIFICATION:
            rows.take(count)
        sha256 = None
        if flags & _FLAG_METADATA:
            # Stored like every other hash: four little-endian words of the printed digest.
            sha256 = hash_text(rows.take()[:32])
        yield XetFile(hash_text(header[:32]), sha256, terms)


def _term(row: bytes) -> Term:
    _, size, first, last = struct.unpack_from("<IIII", row, 32)
    return Term(hash_text(row[:32]), size, first, last)


def _xorbs(rows: _Rows) -> Iterator[XorbInfo]:
    while (header := rows.take())[:32] != _BOOKEND:
        _, count = struct.unpack_from("<II", header, 32)
        body = rows.take(count)
        chunks = tuple(hash_text(body[at : at + 32]) for at in range(0, len(body), _ROW_BYTES))
        yield XorbInfo(hash_text(header[:32]), header + body, chunks)


def xorb_info(xorb: str, path: Path, chunks: Sequence[str]) -> XorbInfo:
    """The block that describes a stored xorb, given its chunks' hashes."""
    sizes = unpacked_sizes(path)
    starts = list(accumulate(sizes, initial=0))
    header = _XORB_HEADER.pack(hash_bytes(xorb), 0, len(sizes), starts[-1], path.stat().st_size)
    rows = (
        _CHUNK_ROW.pack(hash_bytes(chunk), start, size)
        for chunk, start, size in zip(chunks, starts, sizes, strict=False)
    )
    return XorbInfo(xorb, header + b"".join(rows), tuple(chunks))


def dedup_shard(xorbs: Iterable[XorbInfo]) -> bytes:
    """A shard without files, the answer to a chunk query: what these xorbs hold.

    Unlike an uploaded shard it needs a footer (`MDBShardFileFooter`). Its lookup tables may be
    empty, the client scans the rows then; a zero HMAC key says that chunk hashes are plain.
    """
    bookend = _BOOKEND + bytes(16)
    head = _HEADER.pack(_MAGIC, 2, _FOOTER.size) + bookend
    rows = b"".join(xorb.rows for xorb in xorbs) + bookend
    end, now = len(head) + len(rows), int(time.time())
    tables = (end, 0) * 3
    footer = _FOOTER.pack(
        1, _HEADER.size, len(head), *tables, bytes(32), now, now + _KEY_LIFE_S, 0, 0, 0, end
    )
    return head + rows + footer


def chunk_offsets(path: Path) -> list[int]:
    """Where each chunk of a stored xorb starts, and where the last one ends."""
    headers = list(_chunk_headers(path))
    return [0, *accumulate(_CHUNK_HEADER_BYTES + int.from_bytes(header[1:4], "little") for header in headers)]


def unpacked_sizes(path: Path) -> list[int]:
    """The plain size of each chunk of a stored xorb."""
    return [int.from_bytes(header[5:8], "little") for header in _chunk_headers(path)]


def _chunk_headers(path: Path) -> Iterator[bytes]:
    """A chunk has an 8-byte header: version u8, packed length u24, scheme u8, unpacked length u24.

    The footer that a xorb may end with starts with `XETBLOB`, whose first byte is no chunk version.
    """
    with path.open("rb") as source:
        while len(header := source.read(_CHUNK_HEADER_BYTES)) == _CHUNK_HEADER_BYTES and header[0] == 0:
            yield header
            source.seek(int.from_bytes(header[1:4], "little"), 1)
