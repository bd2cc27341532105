"""Convert a peft adapter: llama.cpp's own script does it, run here as the program it is."""

import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.converter.library import Converter
from llmcourse.quantize_gguf.converter.metadata import known_metadata
from llmcourse.quantize_gguf.converter.refusals import converter_errors

_SCRIPT = "convert_lora_to_gguf.py"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def convert_lora(
    converter: Converter, adapter: Path, base: Path, outtype: str, metadata: Mapping[str, Any], scratch: Path
) -> Path:
    """Convert an adapter and return the file, which is in `scratch`.

    Args:
        base: a folder with the base model's config.json.
        outtype: "f32", "f16", "bf16" or "q8_0".

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
    arguments = ["--outfile", str(path), "--outtype", outtype, "--base", str(base), str(adapter)]
    known = known_metadata(converter.gguf, metadata, scratch)
    try:
        with converter_errors(), known, _arguments(arguments):
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
