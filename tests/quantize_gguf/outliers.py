"""The trained tiny model with a few large activation channels, as models of billions of parameters have.

Its own activations are nearly equal in all channels, which leaves an importance matrix nothing to tell.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_FACTOR = 16  # a power of two: bfloat16 stays exact, the model computes what it computed before
_EVERY = 16  # one channel in so many
_AFTER_NORM = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}


def build_with_outliers(folder: Path, model: Path) -> Path:
    """Write the same function with other scales: norms times a factor, what reads them divided by it."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    factors = torch.ones(tensors["model.norm.weight"].shape)
    factors[::_EVERY] = _FACTOR
    layers = {name.split(".")[2] for name in tensors if name.startswith("model.layers.")}
    for layer in layers:
        for norm, readers in _AFTER_NORM.items():
            _scale(tensors, f"model.layers.{layer}.{norm}.weight", factors)
            for reader in readers:
                _scale(tensors, f"model.layers.{layer}.{reader}.weight", 1 / factors)
    save_file(tensors, path, {"format": "pt"})
    return folder


def _scale(tensors: dict[str, torch.Tensor], name: str, factors: torch.Tensor) -> None:
    tensors[name] = (tensors[name].float() * factors).to(tensors[name].dtype)
