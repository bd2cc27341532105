"""Layers that predict further tokens (MTP, NextN): promised by config.json, and not always there.

Fine-tunes and merges lose them and keep the promise.  The converter then counts a layer that has no tensors,
which llama.cpp refuses to load, or fails on an assertion.  Its own `--no-nextn` is for just this.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

# How configurations promise them (transformers 5.23, and those of the published models).
_PROMISES = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
_LAYER_COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


@dataclass(frozen=True)
class Nextn:
    """How many such layers config.json promises, and whether the weights have any (None: not known)."""

    promised: int
    is_present: bool | None

    @property
    def is_missing(self) -> bool:
        return self.is_present is False


def read_nextn(hparams: Mapping[str, Any], folder: Path) -> Nextn:
    """Compare the promise of a configuration with the names of the tensors."""
    parts = [hparams, hparams.get("text_config") or {}]
    promised = max(int(part.get(key) or 0) for part in parts for key in _PROMISES)
    layers = next((part[key] for part in reversed(parts) for key in _LAYER_COUNTS if part.get(key)), 0)
    names = tensor_names(folder)
    return Nextn(promised, any(_is_nextn(name, layers) for name in names) if names else None)


@contextmanager
def left_out(model_class: Any, nextn: Nextn, hparams: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Within the block models of this class are made without what is not there; yields arguments for them."""
    if not nextn.is_missing:
        yield {}
    elif model_class.supports_mtp_export:
        model_class.no_mtp = True
        try:
            yield {}
        finally:
            del model_class.no_mtp  # what the class inherits counts again
    elif nextn.promised:
        yield {"hparams": _without_promise(hparams)}
    else:
        yield {}


def _without_promise(hparams: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {key: 0 if key in _PROMISES else value for key, value in hparams.items()}
    if isinstance(changed.get("text_config"), dict):
        changed["text_config"] = _without_promise(changed["text_config"])
    return changed


def tensor_names(folder: Path) -> set[str]:
    """From the files' headers; empty where the weights are not in safetensors."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            names.update(file.keys())
    return names


def _is_nextn(name: str, layers: int) -> bool:
    """`mtp.layers.0.…`, `model.mtp.…`, or a layer behind the last one, as DeepSeek and GLM have it."""
    parts = name.split(".")
    if any("mtp" in part or "nextn" in part for part in parts):
        return True
    return bool(layers) and any(index >= layers for index in _layer_numbers(parts))


def _layer_numbers(parts: Iterable[str]) -> Iterator[int]:
    before = ""
    for part in parts:
        if before == "layers" and part.isdecimal():
            yield int(part)
        before = part
