"""Whether a model sees or hears, and the converter can write that part: the projector, a file of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

from llmcourse.quantize_gguf.converter.library import Converter

# Where configurations describe the parts, and how the names of their tensors begin or go on.
_PARTS = {
    "vision": (("vision_config", "visual", "vision_model"), ("vision", "visual", "image", "vit", "vpm")),
    "audio": (("audio_config", "audio_encoder"), ("audio", "whisper", "apm")),
}


def projector_of(converter: Converter, hparams: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """ "vision", "audio" or "vision and audio": what a projector would hold; None where there is none."""
    beginnings = {part for name in names for part in name.split(".")[:3]}
    found = [
        sense
        for sense, (keys, words) in _PARTS.items()
        if any(isinstance(hparams.get(key), Mapping) for key in keys)
        and any(part.startswith(words) for part in beginnings)
    ]
    return " and ".join(found) if found and _is_known(converter, hparams) else None


def _is_known(converter: Converter, hparams: Mapping[str, Any]) -> bool:
    conversion = converter.conversion
    try:
        architecture = conversion.get_model_architecture(dict(hparams), conversion.ModelType.MMPROJ)
        conversion.get_model_class(architecture, mmproj=True)
    except (NotImplementedError, KeyError, ValueError):  # as it says that it knows none
        return False
    return True
