"""Names that config, plan, run and card share."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmcourse.quantize_exl2.config import Config

LIBRARY = "exllamav2"
WORKER = Path(__file__).with_name("exl2_worker.py")
MEASUREMENT = "measurement"
MEASUREMENT_NAME = "measurement.json"
QUALITY_NAME = "quality.json"

_SUFFIX = "bpw"


def width_name(bits: float) -> str:
    """`4.25bpw`: a piece, its folder and its branch, with the exact decimal."""
    return f"{bits!r}{_SUFFIX}"


def is_width(piece: str) -> bool:
    return piece.endswith(_SUFFIX)


def width_repo(repo: str, width: str) -> str:
    """The repository of one width beside `repo`: me/name-exl2 -> me/name-4.25bpw-exl2."""
    return f"{repo.removesuffix('-exl2')}-{width}-exl2"


def quality_piece(config: "Config", text_sha256: str) -> str:
    """The measurement of these results on this text; the key after the colon tells it from others."""
    assert config.quality
    widths = " ".join(width_name(bits) for bits in config.bits_per_weight)
    digest = hashlib.sha256(f"{widths} {text_sha256} {config.quality.chunks}".encode()).hexdigest()
    return f"quality:{digest[:12]}"
