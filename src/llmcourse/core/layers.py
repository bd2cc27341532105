"""How many layers a model has: by its config.json, and by its weights."""

import re
from collections.abc import Mapping
from typing import Any

from llmcourse.core.model import ModelFacts

_KEYS = ("num_hidden_layers", "n_layers", "n_layer")
_LAYER = re.compile(r"^((?:.*?\.)?(?:layers|blocks|h)\.\d+)\.")


def of_text(model: ModelFacts) -> Mapping[str, Any]:
    """The part of config.json that is about text, where a model has others too."""
    own = model.config.get("text_config")
    return own if own and isinstance(own, Mapping) else model.config


def stated_layers(model: ModelFacts) -> int | None:
    """What config.json says; None where it says no number."""
    config = of_text(model)
    found = next((config[name] for name in _KEYS if name in config), None)
    return found if isinstance(found, int) else None


def held_layers(model: ModelFacts) -> int:
    """How many there are weights of, those that see or hear among them; 0 where names do not tell."""
    matches = (_LAYER.match(name) for name in model.tensors)
    return len({found[1] for found in matches if found})
