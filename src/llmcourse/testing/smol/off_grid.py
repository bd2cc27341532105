"""Other weights of a Llama that compute the same function, so that they lie on no quantization's grid.

Two changes that the network cannot tell:

- The channels of the residual stream change places. Embeddings, norms and every matrix that reads or writes
  the stream follow, so that blocks of 32 neighbours hold other values than before.
- Each channel gets a factor between 0.8 and 1.25, taken from what writes it (the weight of an RMSNorm, a row
  of `up_proj`, a row of `v_proj`) and put into the columns that read it.
"""

import torch
from transformers import LlamaConfig

_LARGEST = torch.tensor(1.25)  # and 1 / 1.25 is the smallest

Weights = dict[str, torch.Tensor]


def off_grid(weights: Weights, config: LlamaConfig, seed: int = 0) -> Weights:
    """New weights [as before] of the same function, up to rounding; `weights` stays as it is."""
    generator = torch.Generator().manual_seed(seed)
    moved = {name: weight.clone() for name, weight in weights.items()}
    order = torch.randperm(config.hidden_size, generator=generator)
    for name, weight in moved.items():
        moved[name] = _permuted(name, weight, order)
    for layer in range(config.num_hidden_layers):
        _scale(moved, f"model.layers.{layer}.", config, generator)
    return moved


def _permuted(name: str, weight: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The stream is the only axis of norms, the rows of what writes it, and the columns of all else."""
    if weight.dim() == 1 or "o_proj" in name or "down_proj" in name:
        return weight[order].contiguous()
    return weight[:, order].contiguous()


def _scale(weights: Weights, layer: str, config: LlamaConfig, generator: torch.Generator) -> None:
    def factors(count: int) -> torch.Tensor:
        # Evenly on a logarithmic scale, on which the two bounds lie alike beside 1.
        return _LARGEST ** (2 * torch.rand(count, generator=generator) - 1)

    readers = {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
    }
    for norm, matrices in readers.items():
        factor = factors(config.hidden_size)
        weights[f"{layer}{norm}.weight"] /= factor
        for matrix in matrices:
            weights[f"{layer}{matrix}.weight"] *= factor
    factor = factors(config.intermediate_size)
    weights[f"{layer}mlp.up_proj.weight"] *= factor[:, None]
    weights[f"{layer}mlp.down_proj.weight"] /= factor
    factor = factors(len(weights[f"{layer}self_attn.v_proj.weight"]))
    weights[f"{layer}self_attn.v_proj.weight"] *= factor[:, None]
    shares = config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads)
    head_dim = config.hidden_size // config.num_attention_heads
    # Query heads that share a head of values read the same channels.
    shared = factor.view(-1, head_dim).repeat_interleave(shares, dim=0)
    weights[f"{layer}self_attn.o_proj.weight"] /= shared.flatten()
