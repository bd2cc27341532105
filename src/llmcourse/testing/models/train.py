"""Train a small Llama by hand: one minute on two cores, the same weights again for the same thread count.

A loop of its own rather than transformers' Trainer, which takes longer to start than this to train. float32
throughout, because bfloat16 arithmetic is fast on few CPUs; checkpoints are bfloat16, like published models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from torch.optim.lr_scheduler import LambdaLR
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from llmcourse.testing.models.muon import Muon
from llmcourse.testing.models.tokenizer import BOS_ID, EOS_ID, VOCAB_SIZE

_CONTEXT: Final = 256
_WINDOWS_PER_STEP: Final = 4
_WARMUP_STEPS: Final = 10


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train; 1.0 is the speed for a new model, and it falls to a tenth."""

    steps: int
    speed: float
    seed: int


def new_model(seed: int) -> LlamaForCausalLM:
    """A Llama of 3.4 M parameters; rows are multiples of 256 long, the block of llama.cpp's K-quants."""
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",  # of the checkpoint
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)  # float32: `dtype` counts when loading only
        model.model.embed_tokens.weight.normal_(std=0.5)
        model.lm_head.weight.zero_()
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.zero_()  # each block starts as the identity, which a short training leaves sooner
    return model


def train(
    model: LlamaForCausalLM, tokens: torch.Tensor, recipe: Recipe, report: Callable[[float], None]
) -> None:
    """Train `model` in place on random windows of `tokens` [count]; each window starts with BOS."""
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizers = _optimizers(model, recipe.speed)
    schedules = [LambdaLR(optimizer, lambda step: _rate(step, recipe.steps)) for optimizer in optimizers]
    offsets = torch.arange(_CONTEXT)
    for step in range(recipe.steps):
        starts = torch.randint(len(tokens) - _CONTEXT, (_WINDOWS_PER_STEP, 1), generator=generator)
        windows = tokens[starts + offsets]
        windows[:, 0] = BOS_ID
        loss = model(input_ids=windows, labels=windows, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        report((step + 1) / recipe.steps)


def _optimizers(model: LlamaForCausalLM, speed: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the rest: after 100,000 tokens perplexity 160 where AdamW has 430.

    Source: the learning rates are near those of nanochat, whose models are as short on training.
    """
    matrices = [weight for weight in model.model.layers.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [
        {"params": [model.model.embed_tokens.weight], "lr": 0.1 * speed},
        {"params": [model.lm_head.weight], "lr": 0.004 * speed},
        {"params": norms, "lr": 0.002 * speed},
    ]
    return [
        Muon(matrices, lr=0.02 * speed),
        torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.01, fused=True),
    ]


def _rate(step: int, steps: int) -> float:
    return min((step + 1) / _WARMUP_STEPS, 1 - 0.9 * step / steps)


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """Write config.json, generation_config.json and, in bfloat16, model.safetensors."""
    # Not save_pretrained: it draws a progress bar of its own, and would need a copy in bfloat16.
    weights = {name: weight.to(torch.bfloat16) for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    generation = GenerationConfig(bos_token_id=BOS_ID, eos_token_id=EOS_ID)  # type: ignore[no-untyped-call]
    generation.save_pretrained(folder)
