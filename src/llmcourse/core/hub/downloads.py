"""Brings what is needed of a Hub model into the client's cache; what is there is checked before use."""

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.utils.tqdm import tqdm as hf_tqdm

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.hub import blobs
from llmcourse.core.hub.client import api, is_offline, retrying, translated
from llmcourse.core.model import LocalFiles, ModelFacts, Origin, read_model
from llmcourse.core.progress import Progress, Step, silent

# What a model needs beside its weights: configuration, tokenizer, chat template, licence texts.
_SMALL_FILES = ("*.json", "*.model", "*.jinja", "*.txt", "*.tiktoken", "LICENSE*", "README.md")

Tell = Callable[[str], None]


def needed(facts: ModelFacts, more: Iterable[str] = ()) -> list[str]:
    """Names of the files that are used: weights, what belongs to them, and what fits a pattern of `more`."""
    patterns = (*_SMALL_FILES, *more)
    small = [name for name in facts.files if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    return sorted({*small, *facts.weight_files})


def download_bytes(facts: ModelFacts, more: Iterable[str] = ()) -> int:
    """Bytes of this Hub model that are not in the cache yet."""
    sizes = {name: facts.files[name] for name in needed(facts, more)}
    return sum(
        size for name, size in sizes.items() if cached(facts.ref.path, name, facts.revision, size) is None
    )


def cached(repo: str, name: str, commit: str | None, size: int) -> Path | None:
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


def drop_damaged(
    folder: Path, names: Sequence[str], model: str, tell: Tell, progress: Progress | None = None
) -> list[str]:
    """Delete copies in the cache that are not what the Hub sent, and return their names.

    Raises:
        PlanError: they cannot be had anew: the Hub may not be asked, or they are somebody else's.
    """
    wrong = blobs.damaged(folder, names, progress)
    if wrong and is_offline():
        raise PlanError(
            f"{', '.join(wrong)} of {model} is damaged in the cache (its content is not what its hash says).",
            "Unset HF_HUB_OFFLINE and run the same command again: it is then downloaded anew.",
            where=model,
        )
    blobs.remove(folder, wrong, model)
    for name in wrong:
        tell(
            f"! {name} of {model} was damaged in the cache (its content is not what its hash says): "
            "it is deleted and downloaded again."
        )
    return wrong


def download_small(facts: ModelFacts, more: Iterable[str] = (), tell: Tell = silent) -> Path:
    """Bring what a Hub model has beside its weights into the client's cache and return the folder.

    Raises:
        PlanError: the Hub refused or could not be reached.
    """
    names = sorted(set(needed(facts, more)) - set(facts.weight_files))
    with translated(str(facts.ref)):
        return _whole(facts, names, lambda: Path(retrying(lambda: _snapshot(facts, names, None))), tell)


def download(facts: ModelFacts, progress: Progress, more: Iterable[str] = ()) -> Path:
    """Bring a Hub model into the client's cache and return its folder; what is there is not sent again.

    Raises:
        LibraryError: the download failed, also after retries.
        PlanError: the cache is damaged and the Hub may not be asked, or the plan was made of damaged headers.
    """
    names = needed(facts, more)

    def bring() -> Path:
        total = download_bytes(facts, more)
        if total == 0:
            return Path(_snapshot(facts, names, None))
        with progress.step(f"download {facts.ref}", total, "B") as step:
            # A connection cut by a reset is not resumed by the client itself (huggingface_hub 2.4).
            folder = Path(retrying(lambda: _snapshot(facts, names, step)))
        # Writes the branch's name into the cache, so that HF_HUB_OFFLINE=1 finds the model by it.
        retrying(lambda: api().resolve_revision(facts.ref.path, revision=facts.ref.revision))
        return folder

    with translated(str(facts.ref), LibraryError):
        return _whole(facts, names, bring, progress.note, progress)


def _whole(
    facts: ModelFacts,
    names: list[str],
    bring: Callable[[], Path],
    tell: Tell,
    progress: Progress | None = None,
) -> Path:
    """What `bring` brings, damaged copies brought again."""
    model = str(facts.ref)
    folder = bring()
    wrong = drop_damaged(folder, names, model, tell, progress)
    if not wrong:
        return folder
    folder = bring()
    still = blobs.damaged(folder, wrong)
    if still:
        raise LibraryError(
            f"{', '.join(still)} of {model} is not what the Hub says it is, also after another download.",
            "Check the disk of the cache (HF_HOME), and that HF_ENDPOINT is a faithful copy of the Hub.",
            where=model,
        )
    if read_model(facts.ref, LocalFiles(folder), Origin()).tensors != facts.tensors:
        raise PlanError(
            f"The plan was made from damaged headers of {model}, which have been replaced.",
            "Run the same command again.",
            where=model,
        )
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
