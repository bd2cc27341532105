"""Log-probabilities in 16 bits, and how far a model's are from stored ones: numpy on one window's logits.

The arithmetic follows llama-perplexity closely enough that printed figures agree.  Rows are worked on in
blocks by a few threads, so temporary memory is some megabytes whatever the vocabulary.

Source: tools/perplexity/perplexity.cpp (log_softmax, kl_divergence).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.quality.sizes import row_entries

Floats = NDArray[np.float32]
Words = NDArray[np.uint16]

_LEVELS = np.float32(65535)
_RANGE = np.float32(16)  # what is less likely by e^-16 than the likeliest is stored as that
_BLOCK_ENTRIES = 2**20

# One row per scored token: negative log-likelihoods of the model and of the stored one, in nats, the
# divergence of the two, and whether the likeliest token is the same.
SCORES = np.dtype([("nll", "f8"), ("base_nll", "f8"), ("kld", "f8"), ("same_top", "?")])


def pack(logits: Floats, following: NDArray[np.int32], threads: int) -> tuple[Words, NDArray[np.float64]]:
    """Store log-probabilities of shape (tokens, vocabulary) in 16 bits each.

    Returns:
        The stored rows, and the negative log-likelihood of each `following` token.
    """
    rows = np.zeros((len(logits), row_entries(logits.shape[1])), np.uint16)
    nll = np.empty(len(logits))

    def work(block: slice) -> None:
        rows[block], nll[block] = _pack(logits[block], following[block])

    _in_blocks(work, len(logits), logits.shape[1], threads)
    return rows, nll


def compare(logits: Floats, stored: Words, following: NDArray[np.int32], threads: int) -> NDArray[Any]:
    """Compare log-probabilities with stored ones; returns an array of dtype `SCORES`."""
    scores = np.empty(len(logits), SCORES)

    def work(block: slice) -> None:
        scores[block] = _compare(logits[block], stored[block], following[block])

    _in_blocks(work, len(logits), logits.shape[1], threads)
    return scores


def _in_blocks(work: Callable[[slice], None], count: int, vocabulary: int, threads: int) -> None:
    step = max(1, _BLOCK_ENTRIES // vocabulary)
    blocks = [slice(start, start + step) for start in range(0, count, step)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks))


def _normalizer(logits: Floats) -> tuple[Floats, Floats]:
    """The largest logit of each row, and the logarithm of the sum of exponentials relative to it."""
    largest = logits.max(axis=1, keepdims=True)
    total = np.exp(logits - largest).sum(axis=1, dtype=np.float64, keepdims=True)
    return largest, np.log(total).astype(np.float32)


def _of_following(values: Floats, following: NDArray[np.int32]) -> Floats:
    return np.take_along_axis(values, following[:, None], axis=1)


def _pack(logits: Floats, following: NDArray[np.int32]) -> tuple[Words, NDArray[np.float64]]:
    largest, log_sum = _normalizer(logits)
    smallest = np.maximum(logits.min(axis=1, keepdims=True), largest - _RANGE)
    scale = (largest - smallest) / _LEVELS
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    rows = np.zeros((len(logits), row_entries(logits.shape[1])), np.uint16)
    rows[:, :4] = np.hstack([scale, smallest - largest - log_sum]).view(np.uint16)
    rows[:, 4 : 4 + logits.shape[1]] = np.rint(inverse * (np.maximum(logits, smallest) - smallest))
    nll = largest + log_sum - _of_following(logits, following)
    return rows, nll[:, 0].astype(np.float64)


def _compare(logits: Floats, stored: Words, following: NDArray[np.int32]) -> NDArray[Any]:
    largest, log_sum = _normalizer(logits)
    head = np.ascontiguousarray(stored[:, :4]).view(np.float32)
    base = stored[:, 4 : 4 + logits.shape[1]] * head[:, :1] + head[:, 1:]
    difference = np.where(base > -_RANGE, base - logits + (largest + log_sum), 0)
    scores = np.empty(len(logits), SCORES)
    scores["nll"] = (largest + log_sum - _of_following(logits, following))[:, 0]
    scores["base_nll"] = -_of_following(base, following)[:, 0]
    scores["kld"] = (np.exp(base) * difference).sum(axis=1, dtype=np.float64)
    scores["same_top"] = logits.argmax(axis=1) == base.argmax(axis=1)
    return scores
