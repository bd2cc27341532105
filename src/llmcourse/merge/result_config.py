"""The config.json of a merge says what its weights are: nothing that is promised is absent, or the other way.

mergekit takes the configuration of one parent over as it is, whatever of that parent it left out.
"""

import re
from collections.abc import Mapping
from typing import Any

from llmcourse.core.quantized import stated_method, without_statement

# Layers that predict more than the next token; mergekit's architectures have none of them.
_MTP_KEYS = (
    "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
    "num_mtp_layers",
    "mtp_num_layers",
    "num_mtp_modules",
)
_MTP = re.compile(r"(^|\.)(mtp|mtp_layers|mtp_block|nextn)\.|\.(eh_proj|enorm|hnorm|shared_head)\.")
_HEADS = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight")

Shapes = Mapping[str, tuple[int, ...]]


def settled(
    config: Mapping[str, Any], shapes: Shapes, is_head_embedding: bool
) -> tuple[dict[str, Any], list[str]]:
    """config.json of a result with these tensors, and what was changed in it, in sentences for people.

    Args:
        shapes: of every tensor of the result, by name.
        is_head_embedding: whether the output matrix, where there is one, equals the embeddings.
    """
    changes: list[str] = []
    result = dict(config)
    if stated_method(config) != "bitnet" and (plain := without_statement(config)) != result:
        result = plain
        changes.append("it says nothing of a quantization")
    parts = [result]
    if isinstance(result.get("text_config"), Mapping):
        result["text_config"] = dict(result["text_config"])
        parts.append(result["text_config"])
    for part in parts:
        changes += _mtp_changes(part, shapes) + _size_changes(part, shapes)
    changes += _tie_changes(parts, shapes, is_head_embedding)
    return result, list(dict.fromkeys(changes))


def has_head(shapes: Shapes) -> bool:
    return any(name.endswith(_HEADS) for name in shapes)


def embeddings_and_head(shapes: Shapes) -> tuple[str, str] | None:
    """The names of both, None where one is not there."""
    embeddings = next((name for name in shapes if name.endswith(_EMBEDDINGS)), None)
    head = next((name for name in shapes if name.endswith(_HEADS)), None)
    return (embeddings, head) if embeddings and head else None


def is_mtp(name: str) -> bool:
    """Whether a tensor belongs to layers that predict more than the next token, by its name."""
    return _MTP.search(name) is not None


def _mtp_changes(part: dict[str, Any], shapes: Shapes) -> list[str]:
    changes = []
    for key in _MTP_KEYS:
        if part.get(key) and not any(map(is_mtp, shapes)):
            changes.append(f"{key} is 0 and not {part[key]}, since the result has no such layers")
            part[key] = 0
    return changes


def _size_changes(part: dict[str, Any], shapes: Shapes) -> list[str]:
    rows = [shape[0] for name, shape in shapes.items() if name.endswith(_EMBEDDINGS) and len(shape) == 2]
    stated = part.get("vocab_size")
    if not isinstance(stated, int) or len(set(rows)) != 1 or stated == rows[0]:
        return []
    part["vocab_size"] = rows[0]
    return [f"vocab_size is {rows[0]} and not {stated}, the number of embeddings"]


def _tie_changes(parts: list[dict[str, Any]], shapes: Shapes, is_head_embedding: bool) -> list[str]:
    tied = [part for part in parts if part.get("tie_word_embeddings")]
    if not tied or is_head_embedding or not has_head(shapes):
        return []
    for part in tied:
        part["tie_word_embeddings"] = False
    return ["tie_word_embeddings is false, since the result has an output matrix of its own"]
