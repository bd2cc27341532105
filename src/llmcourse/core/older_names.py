"""What a config.json of transformers 5 says under names that readers of the years before know.

Those take their own defaults, without a word, where a name is missing: a Llama 3 is read with the positions
of a Llama 2.  exllamav2 does so, and programs with transformers 4.

Source: the migration guide of transformers 5, and `rope_parameters` in its modeling_rope_utils.py.
"""

from collections.abc import Mapping
from typing import Any

_NEW = ("dtype", "rope_parameters")


def with_older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config.json with the older names beside the new ones; what it says under them stays."""
    result = _completed(config)
    text = result.get("text_config")
    if isinstance(text, Mapping):
        result["text_config"] = _completed(text)
    return result


def with_older_names_only(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same config.json under the older names alone."""
    return {name: value for name, value in with_older_names(config).items() if name not in _NEW}


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    said = {name for name, value in config.items() if value is not None}
    added = {name: value for name, value in _older_names(config).items() if name not in said}
    return dict(sorted({**config, **added}.items())) if added else dict(config)


def _older_names(config: Mapping[str, Any]) -> dict[str, Any]:
    found = {"torch_dtype": config["dtype"]} if config.get("dtype") else {}
    rope = _mapping(config.get("rope_parameters"))
    if "full_attention" in rope:  # one for each kind of layer
        local = _mapping(rope.get("sliding_attention"))
        found |= {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
        rope = _mapping(rope["full_attention"])
    is_neox = config.get("model_type") == "gpt_neox"  # which had names of its own
    names = {
        "rope_theta": "rotary_emb_base" if is_neox else "rope_theta",
        "partial_rotary_factor": "rotary_pct" if is_neox else "partial_rotary_factor",
    }
    found |= {name: rope[new] for new, name in names.items() if new in rope}
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = {name: value for name, value in rope.items() if name not in names}
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    """Nothing where a file says something else than it should."""
    return value if isinstance(value, Mapping) else {}
