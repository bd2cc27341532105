"""The base model and its two fine-tunes: built once per machine, then found in a cache.

A complete folder appears under its final name by one rename, so a build that is killed leaves nothing that
looks finished; a lock on the file system makes other processes wait for the builder rather than build too.
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Final

from filelock import FileLock

from llmcourse.core.cache import cache_folder
from llmcourse.testing.models.corpus import Kind

BASE_ID: Final = "llmcourse-demo/tiny-llama"
CODE_ID: Final = "llmcourse-demo/tiny-llama-code"
PROSE_ID: Final = "llmcourse-demo/tiny-llama-prose"

_LIBRARIES: Final = ("torch", "transformers", "sentencepiece")
_REPORT_EVERY_S: Final = 0.25

ProgressCallback = Callable[[str, float], None]


@dataclass(frozen=True)
class Family:
    """Three model folders with one tokenizer, and text by kind that none of them was trained on."""

    base: Path
    code: Path
    prose: Path
    eval_texts: MappingProxyType[Kind, str]


def build_family(cache: Path | None = None, progress: ProgressCallback | None = None) -> Family:
    """Return the family under `cache`, building it first where it is missing.

    Args:
        cache: default `$LLMCOURSE_CACHE` or `~/.cache/llmcourse`; shared by any number of processes.
        progress: is called with what is being done and the fraction of the whole build, 0 to 1.
    """
    models = (cache or cache_folder()) / "tiny-models"
    final = models / _content_key()
    if not final.is_dir():
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f"{final.name}.lock"):
            if not final.is_dir():  # another process may have built it while this one waited
                staging = models / f"{final.name}.partial"
                shutil.rmtree(staging, ignore_errors=True)  # of a build that was killed
                _build(staging, _Throttled(progress))
                staging.rename(final)
    texts: dict[Kind, str] = {kind: _eval_file(final, kind).read_text("utf-8") for kind in ("code", "prose")}
    return Family(final / "base", final / "code", final / "prose", MappingProxyType(texts))


def _build(folder: Path, report: ProgressCallback) -> None:
    from llmcourse.testing.models import corpus, recipe  # recipe is heavy: torch, transformers

    report("reading the standard library", 0.0)
    texts = corpus.read()
    for kind, text in texts.held_out.items():
        path = _eval_file(folder, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    recipe.train_family(folder, texts, report)


def _eval_file(folder: Path, kind: Kind) -> Path:
    return folder / "eval" / f"{kind}.txt"


def _content_key() -> str:
    """A hash of what decides the models: this package's source, the libraries, the Python that is read."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    facts = [f"{name}=={version(name)}" for name in _LIBRARIES]
    digest.update(" ".join([*facts, f"python{sys.version_info.major}.{sys.version_info.minor}"]).encode())
    return digest.hexdigest()[:16]


class _Throttled:
    """Pass on at most a few reports a second, and always one for something new."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._what = ""
        self._last = 0.0

    def __call__(self, what: str, fraction: float) -> None:
        now = time.monotonic()
        if self._progress and (what != self._what or fraction >= 1 or now - self._last >= _REPORT_EVERY_S):
            self._what, self._last = what, now
            self._progress(what, fraction)
