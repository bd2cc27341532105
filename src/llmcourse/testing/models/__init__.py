"""Tiny models that are real: a trained Llama, its two fine-tunes, and random ones of any size.

No machine that tests this project reaches the Hub, yet merging, quantizing and evaluating mean something
only on models that learned something. Names load late, so that a hit of the cache costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmcourse.testing.models import corpus
from llmcourse.testing.models.family import BASE_ID, CODE_ID, PROSE_ID, Family, build_family

if TYPE_CHECKING:
    from llmcourse.testing.models.measure import perplexity
    from llmcourse.testing.models.untrained import build_lora, build_random_llama

__all__ = [
    "BASE_ID",
    "CODE_ID",
    "PROSE_ID",
    "Family",
    "build_family",
    "build_lora",
    "build_random_llama",
    "corpus",
    "perplexity",
]

_HEAVY = {"perplexity": "measure", "build_lora": "untrained", "build_random_llama": "untrained"}


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HEAVY[name]}"), name)
