"""Models on the Hub: their metadata without their weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, http_backoff

from llmcourse.core.errors import PlanError
from llmcourse.core.hub.client import api, is_offline, retrying, translated
from llmcourse.core.hub.downloads import Tell, cached, download_bytes, drop_damaged, needed
from llmcourse.core.model import LocalFiles, ModelFacts, ModelRef, Origin, read_model
from llmcourse.core.progress import silent

_WEIGHTS = (".safetensors", ".bin", ".gguf")


class HubFiles:
    """One repository at one commit, read through the Hub's HTTP ranges."""

    def __init__(self, repo: str, commit: str, sizes: Mapping[str, int], tell: Tell) -> None:
        """`tell` gets a sentence where a copy in the cache is damaged and asked for again."""
        self.repo = repo
        self.commit = commit
        self.sizes = sizes
        self.tell = tell

    @cached_property
    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(library_name="llmcourse"))

    def text(self, name: str) -> str:
        self.drop_damaged(name)
        path = retrying(lambda: api().hf_hub_download(self.repo, name, revision=self.commit))
        return Path(path).read_text(encoding="utf-8")

    def span(self, name: str, start: int, length: int) -> bytes:
        """Exactly these bytes, from the local cache when the file is there."""
        found = self._cached(name)
        if found is not None:
            return LocalFiles(found.parent).span(name, start, length)
        url = hf_hub_url(self.repo, name, revision=self.commit)
        headers = self._headers | {"Range": f"bytes={start}-{start + length - 1}"}
        response = http_backoff("GET", url, headers=headers, follow_redirects=True)
        hf_raise_for_status(response)
        return bytes(response.content[:length]) if response.status_code == 206 else b""

    def drop_damaged(self, name: str) -> bool:
        """Delete a damaged copy from the cache, and say whether there was one."""
        found = self._cached(name)
        return found is not None and bool(drop_damaged(found.parent, [name], self.repo, self.tell))

    def _cached(self, name: str) -> Path | None:
        return cached(self.repo, name, self.commit, self.sizes[name])


def read_hub_model(ref: ModelRef, tell: Tell = silent) -> ModelFacts:
    """Metadata of a Hub model, pinned to the commit that its revision names now; `tell` as for `HubFiles`.

    Raises:
        PlanError: missing, gated, private, unknown revision, not a model, or the Hub is not reached.
    """
    with translated(str(ref), reads="model"):
        if is_offline():
            return _read_cached(ref)
        info = retrying(lambda: api().model_info(ref.path, revision=ref.revision, files_metadata=True))
        files = [item for item in info.siblings or [] if "/" not in item.rfilename]
        sizes = {item.rfilename: item.size for item in files if item.size is not None}
        card: dict[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
        if info.sha is None:
            raise PlanError(f"{ref} has no commits yet.", "Upload the model first.", where=str(ref))
        facts = _read_whole(ref, HubFiles(info.id, info.sha, sizes, tell), Origin(info.sha, info.id, card))
        blobs = {
            item.rfilename: item.lfs.sha256 if item.lfs else item.blob_id for item in info.siblings or []
        }
        return replace(facts, missing_bytes=download_bytes(facts), content=_content(facts, blobs))


def _read_whole(ref: ModelRef, files: HubFiles, origin: Origin) -> ModelFacts:
    """What the files say; where that makes no sense, copies of weights in the cache may be damaged."""
    try:
        return read_model(ref, files, origin)
    except PlanError:
        damaged = [name for name in files.sizes if name.endswith(_WEIGHTS) and files.drop_damaged(name)]
        if not damaged:
            raise
    return read_model(ref, files, origin)


def _read_cached(ref: ModelRef) -> ModelFacts:
    """What the client's cache holds, for HF_HUB_OFFLINE=1."""
    names = ("config.json", "adapter_config.json")
    found = [try_to_load_from_cache(ref.path, name, revision=ref.revision) for name in names]
    path = next((path for path in found if isinstance(path, str)), None)
    if path is None:
        raise PlanError(
            f"{ref} is not in the local cache, and HF_HUB_OFFLINE is set.",
            "Unset it, or download the model first.",
            where=str(ref),
        )
    folder = Path(path).parent
    held = sorted(item.name for item in folder.iterdir() if item.is_file())
    drop_damaged(folder, [name for name in held if not name.endswith(_WEIGHTS)], str(ref), silent)
    try:
        facts = read_model(ref, LocalFiles(folder), Origin(revision=folder.name, hub_id=ref.path))
    except PlanError:
        drop_damaged(folder, held, str(ref), silent)  # says so where that is why
        raise
    # Where it can, the client keeps contents under their hashes, and links to them.
    links = {item.name: item.readlink().name for item in folder.iterdir() if item.is_symlink()}
    return replace(facts, content=_content(facts, links))


def _content(facts: ModelFacts, blobs: Mapping[str, str | None]) -> str:
    """A hash of what is used of the model, by the hashes of git or LFS; empty where one is not known."""
    used = {name: blobs.get(name) for name in needed(facts) if name != "README.md"}
    if None in used.values():
        return ""
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()
