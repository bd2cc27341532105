"""Names of what is made: of the model, of its files, and what stands in their metadata."""

import hashlib
from collections.abc import Iterable
from typing import Any

from llmcourse.core.model import ModelFacts

CONVERTED = "converted.gguf"  # in the scratch folder, shared by all types
QUALITY_NAME, PLOT_NAME, IMATRIX_NAME = "quality.json", "quality.png", "imatrix.gguf"
IMATRIX_PIECE = "imatrix"
PROJECTOR_PIECE = "mmproj"


def file_name(model: ModelFacts, type_name: str) -> str:
    """`name.Q4_K_M.gguf`: the type in upper case, where the Hub and ollama look for it."""
    return f"{model.name}.{type_name}.gguf"


def projector_name(model: ModelFacts) -> str:
    """`mmproj-name.gguf`: programs know a projector by how its name begins."""
    return f"mmproj-{model.name}.gguf"


def metadata(model: ModelFacts, licence: str | None, quantized_by: str) -> dict[str, Any]:
    """What goes into the head of every file, by the names of gguf-py's `Metadata`.

    The base model is the one that is quantized, not its parents: that is what people want to find.
    """
    found: dict[str, Any] = {"name": model.name, "quantized_by": quantized_by}
    if licence:
        found["license"] = licence
    if model.hub_id:
        owner, _, name = model.hub_id.partition("/")
        url = f"https://huggingface.co/{model.hub_id}"
        found["author"] = owner
        found["base_models"] = [{"name": name, "organization": owner, "repo_url": url}]
    return found


def quality_piece(types: Iterable[str], text_sha256: str, chunks: int) -> str:
    """The piece of the table and the plot: other types, another text or more of it make another one."""
    parts = f"{' '.join(sorted(types))} {text_sha256} {chunks}"
    return f"quality:{hashlib.sha256(parts.encode()).hexdigest()[:8]}"
