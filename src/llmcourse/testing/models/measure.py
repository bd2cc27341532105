"""Perplexity of a model folder on a text, the one number the tests judge models by.

Windows do not overlap and each starts with BOS, as in llama.cpp's `perplexity`, but every token of a window
counts, not its second half only. Not for publication: for that there is lm-eval.
"""

import math
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_WINDOWS_AT_ONCE = 8


def perplexity(model_folder: Path, text: str, *, max_tokens: int = 16_384, context: int = 256) -> float:
    """Perplexity per token of the first `max_tokens` of `text`, in float32, in windows of `context`."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)  # in evaluation mode
    ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False, verbose=False)[:max_tokens])
    body = context - 1
    count = len(ids) // body
    if not count:
        raise ValueError(f"the text has {len(ids)} tokens, a window needs {body}")
    bos = torch.full((count, 1), tokenizer.bos_token_id)
    windows = torch.cat([bos, ids[: count * body].view(count, body)], dim=1)
    total = 0.0
    with torch.inference_mode():
        for part in torch.split(windows, _WINDOWS_AT_ONCE):
            total += model(input_ids=part, labels=part, use_cache=False).loss.item() * len(part)
    return math.exp(total / count)
