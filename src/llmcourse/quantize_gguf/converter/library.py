"""llama.cpp's converter as modules, imported from a folder and not from what is installed.

The folder's own `gguf` has to win: the package of that name on the index has the same version number and
lacks what the converter needs.  transformers and torch come with it, less a part that nothing here uses.
"""

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from llmcourse.core.errors import LibraryError
from llmcourse.core.lean_transformers import import_activations


@dataclass(frozen=True)
class Converter:
    """`conversion` has the model classes, `gguf` the writer and the numerical formats."""

    folder: Path
    conversion: Any
    gguf: Any


def import_converter(folder: Path) -> Converter:
    """Import the converter; from here on this process works with local files only.

    Raises:
        LibraryError: another `gguf` was imported before.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # transformers asks the Hub even about tokenizers in a local folder
    sys.path[:0] = [str(folder / "gguf-py"), str(folder)]
    import_activations()
    if not os.environ.get("LLMCOURSE_TRUST_REMOTE_CODE"):
        _refuse_remote_code()
    converter = Converter(folder, import_module("conversion"), import_module("gguf"))
    if not Path(converter.gguf.__file__).is_relative_to(folder):
        raise LibraryError(
            f"The converter in {folder} got a foreign gguf package, {converter.gguf.__file__}.",
            "Report this, with the log.",
        )
    return converter


def _refuse_remote_code() -> None:
    """Some of the converter's models run code from the model's folder to read its tokenizer, unasked."""
    tokenizer = import_module("transformers").AutoTokenizer
    trusting = tokenizer.from_pretrained

    def careful(*args: Any, **settings: Any) -> Any:
        return trusting(*args, **settings | {"trust_remote_code": False})

    tokenizer.from_pretrained = careful
