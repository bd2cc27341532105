"""What people write where a model's id belongs: ids, addresses, paths of their own machine, typing errors."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from llmcourse.core.hub.family import is_model_id

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HUB_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?(.+)", re.IGNORECASE
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NOT_MODELS = {"datasets", "spaces", "papers", "collections", "blog", "docs", "organizations", "api"}
_LONGEST = 120


@dataclass(frozen=True)
class Named:
    """`id` is None where the text can be no model of the Hub; `reason` is then a sentence."""

    id: str | None
    shown: str  # the text, fit to be shown
    reason: str = ""


def claimed_id(text: str) -> Named:
    """The id that was meant, without revision; whether there is such a model only the Hub knows."""
    shown = " ".join(text.split())
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    wanted = text.strip().strip("\"'`<> ").rstrip("/")
    link = _LINK.fullmatch(wanted)
    wanted = link[1].rstrip("/") if link else wanted
    wanted = wanted.removeprefix("hf://").removeprefix("models/")
    address = _HUB_ADDRESS.fullmatch(wanted)
    if address:
        parts = unquote(re.split(r"[?#]", address[1])[0]).strip("/").split("/")
        if parts[0] in _NOT_MODELS or not parts[0]:
            return Named(None, shown, f"{shown!r} is an address on the Hub, but of no model.")
        wanted = "/".join(parts[:2])
    elif "/" in wanted and wanted.partition("/")[0].lower() in _NOT_MODELS:
        return Named(None, shown, f"{shown!r} is an address on the Hub, but of no model.")
    elif _ADDRESS.match(wanted):
        return Named(None, shown, f"{shown!r} is an address outside the Hub.")
    if wanted.startswith(("/", "./", "../", "~")) or "\\" in wanted or wanted.count("/") > 1:
        return Named(None, shown, f"{shown!r} is a path on its author's machine, not a model of the Hub.")
    wanted = wanted.partition("@")[0]
    if not is_model_id(wanted):
        return Named(None, shown, f"{shown!r} can be no model's id.")
    return Named(wanted, shown)
