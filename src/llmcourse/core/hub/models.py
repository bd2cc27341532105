"""Models on the Hub: their metadata without their weights, and the download of exactly what is needed."""

import fnmatch
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, http_backoff
from huggingface_hub.utils.tqdm import tqdm as hf_tqdm

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.hub.client import api, is_offline, retrying, translated
from llmcourse.core.model import LocalFiles, ModelFacts, ModelRef, Origin, read_model
from llmcourse.core.progress import Progress, Step

# What a model needs beside its weights: configuration, tokenizer, chat template, licence texts.
_SMALL_FILES = ("*.json", "*.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*", "README.md")


class HubFiles:
    """One repository at one commit, read through the Hub's HTTP ranges."""

    def __init__(self, repo: str, commit: str, sizes: Mapping[str, int]) -> None:
        self.repo = repo
        self.commit = commit
        self.sizes = sizes

    @cached_property
    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(library_name="llmcourse"))

    def text(self, name: str) -> str:
        _cached(self.repo, name, self.commit, self.sizes[name])
        path = retrying(lambda: api().hf_hub_download(self.repo, name, revision=self.commit))
        return Path(path).read_text(encoding="utf-8")

    def span(self, name: str, start: int, length: int) -> bytes:
        """Exactly these bytes, from the local cache when the file is there."""
        cached = _cached(self.repo, name, self.commit, self.sizes[name])
        if cached is not None:
            return LocalFiles(cached.parent).span(name, start, length)
        url = hf_hub_url(self.repo, name, revision=self.commit)
        headers = self._headers | {"Range": f"bytes={start}-{start + length - 1}"}
        response = http_backoff("GET", url, headers=headers, follow_redirects=True)
        hf_raise_for_status(response)
        return bytes(response.content[:length]) if response.status_code == 206 else b""


def read_hub_model(ref: ModelRef) -> ModelFacts:
    """Metadata of a Hub model, pinned to the commit that its revision names now.

    Raises:
        PlanError: missing, gated, private, unknown revision, not a model, or the Hub is not reached.
    """
    with translated(str(ref)):
        if is_offline():
            return _read_cached(ref)
        info = retrying(lambda: api().model_info(ref.path, revision=ref.revision, files_metadata=True))
        files = [item for item in info.siblings or [] if "/" not in item.rfilename]
        sizes = {item.rfilename: item.size for item in files if item.size is not None}
        card: dict[str, Any] = dict(vars(info.card_data)) if info.card_data else {}
        if info.sha is None:
            raise PlanError(f"{ref} has no commits yet.", "Upload the model first.", where=str(ref))
        facts = read_model(ref, HubFiles(info.id, info.sha, sizes), Origin(info.sha, info.id, card))
        blobs = {
            item.rfilename: item.lfs.sha256 if item.lfs else item.blob_id for item in info.siblings or []
        }
        return replace(facts, missing_bytes=_download_bytes(facts), content=_content(facts, blobs))


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
    facts = read_model(ref, LocalFiles(folder), Origin(revision=folder.name, hub_id=ref.path))
    # Where it can, the client keeps contents under their hashes, and links to them.
    links = {item.name: item.readlink().name for item in folder.iterdir() if item.is_symlink()}
    return replace(facts, content=_content(facts, links))


def _content(facts: ModelFacts, blobs: Mapping[str, str | None]) -> str:
    """A hash of what is used of the model, by the hashes of git or LFS; empty where one is not known."""
    used = {name: blobs.get(name) for name in _needed(facts, ()) if name != "README.md"}
    if None in used.values():
        return ""
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()


def _needed(facts: ModelFacts, more: Iterable[str]) -> list[str]:
    patterns = (*_SMALL_FILES, *more)
    small = [name for name in facts.files if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    return sorted({*small, *facts.weight_files})


def _download_bytes(facts: ModelFacts, more: Iterable[str] = ()) -> int:
    """Bytes of this Hub model that are not in the cache yet."""
    sizes = {name: facts.files[name] for name in _needed(facts, more)}
    return sum(
        size for name, size in sizes.items() if _cached(facts.ref.path, name, facts.revision, size) is None
    )


def _cached(repo: str, name: str, commit: str | None, size: int) -> Path | None:
    """A file in the client's cache. One of the wrong size is deleted: the client takes any for whole."""
    found = try_to_load_from_cache(repo, name, revision=commit)
    if not isinstance(found, str):
        return None
    path = Path(found)
    if path.stat().st_size != size:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        return None
    return path


def download_small(facts: ModelFacts, more: Iterable[str] = ()) -> Path:
    """Bring what a Hub model has beside its weights into the client's cache and return the folder.

    Raises:
        PlanError: the Hub refused or could not be reached.
    """
    names = sorted(set(_needed(facts, more)) - set(facts.weight_files))
    with translated(str(facts.ref)):
        return Path(retrying(lambda: _snapshot(facts, names, None)))


def download(facts: ModelFacts, progress: Progress, more: Iterable[str] = ()) -> Path:
    """Bring a Hub model into the client's cache and return its folder; what is there is not sent again.

    Raises:
        LibraryError: the download failed, also after retries.
    """
    total = _download_bytes(facts, more)
    with translated(str(facts.ref), LibraryError):
        if total == 0:
            return Path(_snapshot(facts, _needed(facts, more), None))
        with progress.step(f"download {facts.ref}", total, "B") as step:
            # A connection cut by a reset is not resumed by the client itself (huggingface_hub 2.4).
            folder = Path(retrying(lambda: _snapshot(facts, _needed(facts, more), step)))
        # Writes the branch's name into the cache, so that HF_HUB_OFFLINE=1 finds the model by it.
        retrying(lambda: api().resolve_revision(facts.ref.path, revision=facts.ref.revision))
        return folder


def _snapshot(facts: ModelFacts, names: list[str], step: Step | None) -> str:
    bar = _bar_for(step) if step else hf_tqdm
    folder: str = snapshot_download(
        facts.ref.path,
        revision=facts.revision,
        allow_patterns=names,
        tqdm_class=bar,
        library_name="llmcourse",
    )
    return folder


def _bar_for(step: Step) -> type[hf_tqdm]:
    """A bar of the client's kind that reports bytes to our progress and shows nothing itself."""

    class Reporting(hf_tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # The client counts bytes received and bytes written in two bars; the second is the file.
            self._counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts and n:
                step.advance(int(n))
            return None

    return Reporting
