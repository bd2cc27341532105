"""LoRA adapters merged into their models by mergekit, when its own `run_merge` would do it.

The moment matters: peft draws random numbers for adapters before it loads them, so what DARE and DELLA draw
afterwards depends on it (mergekit 0.1.5, merge.py seeds first, then LoaderCache.get merges the adapters).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Event, Thread

from mergekit.common import ModelPath, ModelReference
from mergekit.options import MergeOptions

from llmcourse.core.progress import Progress, Step
from llmcourse.core.workspace import write_json
from llmcourse.merge.relayed_bars import relayed_bars
from llmcourse.merge.seed import random_state, restore_random_state

_POLL_S = 2.0
_DEFERRED = ("transformers.models.auto.modeling_auto", "transformers.modeling_utils", "peft")


@dataclass(frozen=True)
class Adapted:
    """A model's folder and an adapter's folder; what they make together lies in `folder`."""

    model: Path
    lora: Path
    folder: Path

    @classmethod
    def of(cls, model: str, lora: str, scratch: Path, options: MergeOptions) -> "Adapted":
        """`folder` is named by what goes in, so a cache that the user keeps is never stale."""
        cache = Path(options.lora_merge_cache or scratch / "loras")
        parts = [_identity(Path(model)), _identity(Path(lora)), str(options.lora_merge_dtype)]
        return cls(
            Path(model), Path(lora), cache / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        )

    @property
    def _states(self) -> Path:
        """By the random state before the adapter was merged, the one after it."""
        return self.folder.with_suffix(".random.json")

    def make(self, options: MergeOptions, progress: Progress, is_random: bool) -> None:
        """Merge the adapter unless that was done, and leave the random numbers as if it was done now."""
        before = hashlib.sha256(random_state().encode()).hexdigest()
        known: dict[str, str] = json.loads(self._states.read_text()) if self._states.is_file() else {}
        if self.folder.exists() and (before in known or not is_random):
            if before in known:
                restore_random_state(known[before])
            return
        growing = self.folder.with_suffix(".growing")
        if growing.exists():
            shutil.rmtree(growing)
        self._merge(growing, options, progress)
        write_json(self._states, known | {before: random_state()})
        if self.folder.exists():
            shutil.rmtree(growing)
        else:
            growing.rename(self.folder)

    def _merge(self, growing: Path, options: MergeOptions, progress: Progress) -> None:
        """By mergekit; a half-made model never gets the final name."""
        both = ModelReference(model=ModelPath(path=str(self.model)), lora=ModelPath(path=str(self.lora)))
        logging.info("Merging the LoRA %s into %s", self.lora, self.model)
        title = f"apply {self.lora.name} to {self.model.name}"
        with progress.step("load peft"):  # and the half of transformers that other merges do without
            for name in _DEFERRED:
                import_module(name)
        with relayed_bars(progress, title), _growth_told(progress, f"{title}: write", growing):
            merged = both.merged(
                cache_dir=str(growing / "parts"),
                trust_remote_code=options.trust_remote_code,
                lora_merge_dtype=options.lora_merge_dtype,
            )
        for path in Path(merged.model.path).iterdir():
            path.rename(growing / path.name)
        shutil.rmtree(growing / "parts")
        _copy_tokenizer_files(self.model, growing)


def _identity(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return json.dumps([str(folder), stats])


def _copy_tokenizer_files(source: Path, target: Path) -> None:
    """peft saves weights and config only, and the donor of the tokenizer may be this model."""
    for path in source.iterdir():
        if path.is_file() and not (target / path.name).exists() and "safetensors" not in path.name:
            shutil.copyfile(path, target / path.name)


@contextmanager
def _growth_told(progress: Progress, name: str, folder: Path) -> Iterator[None]:
    """Tell how much of the merged model is written: that is one call, and one file of up to 50 GB."""
    ended = Event()

    def watch() -> None:
        with ExitStack() as stack:
            step: Step | None = None
            while not ended.wait(_POLL_S):
                size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
                if size and step is None:
                    step = stack.enter_context(progress.step(name, unit="B"))
                if step is not None:
                    step.advance(size - step.done)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
