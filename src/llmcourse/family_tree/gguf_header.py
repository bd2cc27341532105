"""The base models that a GGUF file names in its header (ggml's docs/gguf.md, `general.base_model.*`)."""

import struct
from contextlib import suppress

from llmcourse.core.gguf_header import GgufHead

_SOURCES = ("general.source.huggingface.repository", "general.source.repo_url", "general.source.url")
_MOST = 100  # base models of a file


def base_models(start: bytes) -> tuple[str, ...]:
    """Addresses or ids, from the first bytes of a file; where they end, or are no GGUF, the reading does."""
    found: dict[str, str] = {}
    with suppress(struct.error, ValueError):
        for key, value in GgufHead(start).entries():
            if key.startswith("general.") and isinstance(value, str) and value:
                found[key] = value
    named = []
    for number in range(_MOST):
        prefix = f"general.base_model.{number}."
        address, owner, name = (found.get(prefix + part) for part in ("repo_url", "organization", "name"))
        if address:
            named.append(address)
        elif owner and name:
            named.append(f"{owner}/{name}".replace(" ", "-"))
    return tuple(named) or tuple(found[key] for key in _SOURCES if key in found)[:1]
