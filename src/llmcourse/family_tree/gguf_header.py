"""The base models that a GGUF file names in its header (ggml/docs/gguf.md, `general.base_model.*`)."""

import struct
from typing import Any

# Sizes of the values of each type; 8 is text, 9 a list.
_FORMATS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_TEXT, _LIST = 8, 9
_SOURCES = ("general.source.huggingface.repository", "general.source.repo_url", "general.source.url")


def base_models(start: bytes) -> tuple[str, ...]:
    """Addresses or ids, from the first bytes of a file; what is cut off or no GGUF ends the reading."""
    found: dict[str, str] = {}
    try:
        for key, value in _entries(start):
            if key.startswith("general.") and isinstance(value, str) and value:
                found[key] = value
    except (struct.error, UnicodeDecodeError, IndexError, KeyError, ValueError, RecursionError):
        pass  # only the first bytes are here: what was read before counts
    named = []
    for number in range(100):
        prefix = f"general.base_model.{number}."
        address, owner, name = (found.get(prefix + part) for part in ("repo_url", "organization", "name"))
        if address:
            named.append(address)
        elif owner and name:
            named.append(f"{owner}/{name}".replace(" ", "-"))
    return tuple(named) or tuple(found[key] for key in _SOURCES if key in found)[:1]


def _entries(data: bytes) -> Any:
    if data[:4] != b"GGUF":
        return
    (count,) = struct.unpack_from("<Q", data, 16)
    at = 24
    for _ in range(count):
        key, at = _text(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        value, at = _value(data, at + 4, kind)
        yield key, value


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise IndexError
    return data[at + 8 : end].decode(), end


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind == _TEXT:
        return _text(data, at)
    if kind == _LIST:
        inner, count = struct.unpack_from("<IQ", data, at)
        at += 12
        if inner not in (_TEXT, _LIST):
            return None, at + count * struct.calcsize(_FORMATS[inner])
        for _ in range(count):
            _, at = _value(data, at, inner)
        return None, at
    return struct.unpack_from(_FORMATS[kind], data, at)[0], at + struct.calcsize(_FORMATS[kind])
