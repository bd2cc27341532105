"""What only files beside the models' headers tell a plan: tokens by name, the folder for merged LoRAs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmcourse.core.machine import existing_parent
from llmcourse.core.model import ModelRef, expanded
from llmcourse.merge.config import Config
from llmcourse.merge.recipe import ModelToken, Recipe, TokenSource

CACHE_PROBLEM, ABSENT_TOKENS = "lora_merge_cache", "absent tokens"


def look_up(config: Config) -> dict[str, str]:
    """For Facts.present: a sentence where the folder cannot be used; [token, model] where it has it not."""
    found = {}
    cache = config.options.lora_merge_cache
    if cache is not None:
        parent = existing_parent(expanded(cache).absolute())
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK) or parent.is_relative_to("/proc"):
            found[CACHE_PROBLEM] = f"{parent} is no folder you may write to."
    absent = [pair for stage in config.merge if isinstance(stage, Recipe) for pair in _absent(stage)]
    return found | ({ABSENT_TOKENS: json.dumps(absent)} if absent else {})


def _absent(stage: Recipe) -> Iterator[tuple[str, str]]:
    """Only of folders: a model of the Hub is read by its headers, and its tokenizer is not here yet."""
    for name, about in ((stage.tokenizer.tokens if stage.tokenizer else None) or {}).items():
        reference, wanted = about.reference(), _wanted(name, about)
        if reference is None or wanted is None or not ModelRef.parse(reference.model).is_local:
            continue
        vocabulary = _vocabulary(expanded(reference.model) / "tokenizer.json")
        if vocabulary and wanted not in vocabulary:
            yield wanted, reference.model


def _wanted(name: str, about: TokenSource) -> str | None:
    """The token by whose text an embedding is looked up."""
    return about.source.token if isinstance(about.source, ModelToken) else name


def _vocabulary(path: Path) -> set[str]:
    """All tokens of a tokenizer.json; empty where it cannot be read."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        words = content["model"]["vocab"]
        added = {entry["content"] for entry in content.get("added_tokens", [])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # absent, or of a kind that the library is to judge
    return added | (set(words) if isinstance(words, dict) else {word[0] for word in words})
