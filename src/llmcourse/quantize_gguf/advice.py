"""What to say of a type: from what was measured here, else from what is known of usual models.

A type's name promises a size and a quality that llama.cpp cannot always keep: where the rows of a tensor are
no multiple of the type's block it takes a larger one.  So no type is advised that another one beats.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmcourse.quantize_gguf.types import type_facts

# Mean KL divergence to the original in nats, up to which the words hold.
_WORDS = (
    (0.002, "hard to tell from the original"),
    (0.01, "very near to the original"),
    (0.03, "good quality"),
    (0.1, "some loss"),
    (0.3, "noticeable loss"),
    (1.0, "large loss"),
)
_WORST = "very large loss"


@dataclass(frozen=True)
class Made:
    """A type as it was made, or is going to be: bytes of its files, mean KL divergence if it was measured."""

    type: str
    size: int
    mean_kld: float | None = None
    fallbacks: int = 0  # tensors that llama.cpp made of a larger type


def advice(one: Made, others: Iterable[Made]) -> str:
    """What the type is for, in a few words."""
    better = beaten_by(one, others)
    if better:
        gain = "nearer to the original" if one.mean_kld is not None else "better"
        size = "no larger" if better.size == one.size else "smaller"
        return f"no reason to take it: {better.type} is {size} and {gain}"
    if one.mean_kld is not None:
        return next((words for most, words in _WORDS if one.mean_kld <= most), _WORST)
    return "" if one.fallbacks else type_facts(one.type).advice


def beaten_by(one: Made, others: Iterable[Made]) -> Made | None:
    """A type that is no larger and nearer to the original; of several the nearest.

    Where nothing was measured, a type that usually has more bits counts as nearer.
    """
    rivals = [other for other in others if other.type != one.type and other.size <= one.size]
    if one.mean_kld is not None:
        nearer = [other for other in rivals if other.mean_kld is not None and other.mean_kld < one.mean_kld]
        return min(nearer, key=lambda other: other.mean_kld or 0, default=None)
    bits = type_facts(one.type).bits
    nearer = [other for other in rivals if type_facts(other.type).bits > bits]
    return max(nearer, key=lambda other: type_facts(other.type).bits, default=None)


def fallback_words(fallbacks: Mapping[str, int], tensors: int | None = None) -> str:
    """`180 of 272 tensors (120 Q2_K → Q4_0, 60 Q3_K → Q4_0)`."""
    count = sum(fallbacks.values())
    listed = ", ".join(f"{number} {change}" for change, number in fallbacks.items())
    return f"{count}{f' of {tensors}' if tensors else ''} tensors ({listed})"


def made_of(name: str, size: int, about: Mapping[str, Any], key: str | None = None) -> Made:
    """What is known of a finished type; figures count that were measured under `key`, None for any."""
    quality = about.get("quality") or {}
    is_measured = bool(quality) and key in (None, quality.get("key"))
    fallbacks = sum(about.get("fallbacks", {}).values())
    return Made(name, size, quality["mean_kld"] if is_measured else None, fallbacks)
