"""The types that the installed llama.cpp can quantize to, read without loading it.

The names come from the text of the binding's constants, so they are those of the version that will do
the work; loading the library for them would cost a process in which it may abort.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llmcourse.core.errors import MissingError
from llmcourse.quantize_gguf.types import ALIASES

# NVFP4 needs scales that only the converter of such a model makes; GUESSED is a mark for old files.
_NO_TARGETS = {"NVFP4", "GUESSED"}


def file_types() -> tuple[str, ...]:
    """Names of a whole file's types in upper case (`Q4_K_M`), of llama.h's enum llama_ftype.

    Raises:
        MissingError: llama-cpp-python is not installed, or is laid out in a way that is not known.
    """
    found = _constants(r"LLAMA_FTYPE_(?:MOSTLY|ALL)_(\w+)")
    return tuple(name for name in found if name not in _NO_TARGETS and name not in ALIASES)


@cache
def _constants(pattern: str) -> tuple[str, ...]:
    spec = find_spec("llama_cpp")
    if spec is None or not spec.origin:
        raise MissingError("llama-cpp-python is not installed.", "Run: pip install 'llmcourse[gguf]'")
    text = Path(spec.origin).with_name("llama_cpp.py").read_text(encoding="utf-8")
    found = re.findall(rf"^{pattern} = \d+$", text, re.MULTILINE)
    if not found:
        raise MissingError(
            "The installed llama-cpp-python lists its types in a way that llmcourse does not know.",
            "Install the version that llmcourse was tested with: pip install 'llmcourse[gguf]'",
        )
    return tuple(found)
