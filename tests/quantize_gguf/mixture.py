"""A tiny Mixtral as checkpoints on the Hub store it, some of whose experts no token can reach."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from llmcourse.testing.models import build_random_llama

EXPERTS = 8
UNREACHABLE = [6, 7]  # of each layer


def build_mixture(folder: Path, tokenizer_from: Path) -> Path:
    """Write the model and return `folder`; 2 layers, 8 experts, 2 of them chosen for each token."""
    build_random_llama(
        folder, architecture="mixtral", hidden=256, intermediate=256, tokenizer_from=tokenizer_from
    )
    path = folder / "model.safetensors"
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(path).items():
        stored |= _as_on_the_hub(name, tensor)
    save_file(stored, path, {"format": "pt"})
    return folder


def _as_on_the_hub(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Each expert's matrices by themselves; transformers fuses them while it loads."""
    layer, _, part = name.partition(".mlp.")
    if part == "gate.weight":
        return {f"{layer}.block_sparse_moe.gate.weight": _one_sided_router(tensor)}
    if part == "experts.gate_up_proj":
        w1, w3 = tensor.chunk(2, dim=1)
        return _by_expert(layer, "w1", w1) | _by_expert(layer, "w3", w3)
    if part == "experts.down_proj":
        return _by_expert(layer, "w2", tensor)
    return {name: tensor}


def _by_expert(layer: str, matrix: str, stacked: torch.Tensor) -> dict[str, torch.Tensor]:
    experts = f"{layer}.block_sparse_moe.experts"
    return {f"{experts}.{index}.{matrix}.weight": one.contiguous() for index, one in enumerate(stacked)}


def _one_sided_router(weights: torch.Tensor) -> torch.Tensor:
    """Of three opposite pairs three experts are above zero for any token; the last two stay at zero."""
    router = weights.clone()
    router[1:6:2] = -router[0:6:2]
    router[UNREACHABLE] = 0
    return router
