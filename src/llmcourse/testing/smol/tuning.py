"""A short fine-tune on a few conversations: a plain loop, half a minute on two cores. Heavy: torch."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import LlamaForCausalLM

_STEPS: Final = 24
_ROWS_PER_STEP: Final = 8
_LEARNING_RATE: Final = 5e-4
_TRAINED_LAYERS: Final = 8  # the last ones: what lies below them is not walked back through
_UNTRAINED: Final = -100  # the label that the loss passes over

Row = tuple[list[int], list[int]]


def fine_tune(
    model: LlamaForCausalLM, tokenizer: Any, files: Sequence[Path], seed: int, report: Callable[[float], None]
) -> None:
    """Train `model` in place to give the answers in `files`, a conversation a line; same seed, same weights.

    Only answers count for the loss, and only the last layers are trained.
    """
    torch.set_float32_matmul_precision("medium")  # in bfloat16 where the processor has arithmetic for it
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    examples = [encoded(json.loads(line)["messages"], tokenizer) for line in lines]
    model.requires_grad_(False)
    layers = model.model.layers[-_TRAINED_LAYERS:]
    layers.requires_grad_(True)
    optimizer = torch.optim.AdamW(layers.parameters(), lr=_LEARNING_RATE, weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(seed)
    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min((step + 1) / 4, 1 - 0.9 * step / _STEPS)
        chosen = torch.randperm(len(examples), generator=generator)[:_ROWS_PER_STEP]
        batch = padded([examples[index] for index in chosen.tolist()], tokenizer.pad_token_id)
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        report((step + 1) / _STEPS)


def encoded(messages: list[dict[str, str]], tokenizer: Any) -> Row:
    """Token ids of a conversation, and the labels: the ids of the last answer, and nothing before it."""
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    return ids, [_UNTRAINED] * len(asked) + ids[len(asked) :]


def padded(rows: list[Row], pad: int) -> dict[str, torch.Tensor]:
    """Ids, labels and mask [row, token], all as long as the longest."""
    longest = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [_UNTRAINED] * (longest - len(labels)) for _, labels in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows]),
    }
