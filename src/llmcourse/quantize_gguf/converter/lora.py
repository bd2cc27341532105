"""Convert a peft adapter: llama.cpp's own script does it, run here as the program it is."""

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.converter.library import Converter
from llmcourse.quantize_gguf.converter.model import converter_errors

_SCRIPT = "convert_lora_to_gguf.py"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def convert_lora(converter: Converter, adapter: Path, base: Path, scratch: Path) -> Path:
    """Convert an adapter, in float32 as the script does by default, and return the file in `scratch`.

    Args:
        base: a folder with the base model's config.json.

    Raises:
        PlanError: the adapter is incomplete or of a kind that llama.cpp does not take; or the disk is full.
    """
    if not (adapter / "adapter_config.json").is_file() or not any((adapter / n).is_file() for n in _WEIGHTS):
        raise PlanError(
            f"{adapter.name} is no complete peft adapter.",
            "Give a folder with adapter_config.json and adapter_model.safetensors.",
            where=adapter.name,
        )
    path = scratch / "partial-lora.gguf"
    try:
        with converter_errors(), _arguments(["--outfile", str(path), "--base", str(base), str(adapter)]):
            # Its model class is made inside its main program, so there is nothing to import from it.
            runpy.run_path(str(converter.folder / _SCRIPT), run_name="__main__")
    except PlanError:
        path.unlink(missing_ok=True)
        raise
    return path


@contextmanager
def _arguments(arguments: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [_SCRIPT, *arguments]
    try:
        yield
    finally:
        sys.argv = before
