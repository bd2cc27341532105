"""The figures that results of different commands have in common, as their manifests tell them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.human import human_bytes

_WEIGHTS = (".safetensors", ".gguf")


@dataclass(frozen=True)
class Quantization:
    """One quantized model: its size in bytes, its divergence from the original in nats, its perplexity."""

    name: str
    size: int
    kld: float | None = None
    perplexity: float | None = None
    base_perplexity: float | None = None

    def sentence(self) -> str:
        shown = f"{self.name} {human_bytes(self.size)}"
        return shown if self.kld is None else f"{shown}, KL {self.kld:.1e}, perplexity {self.perplexity:.2f}"


def quantizations(artifact: Artifact, name: str = "") -> list[Quantization]:
    """What a quantizer made, one for each type or width, or called `name`; nothing of other commands."""
    if artifact.command == "quantize-gguf":
        return list(_of_pieces(artifact, lambda file: "type" in file.about))
    if artifact.command == "quantize-exl2":
        measured: dict[str, Any] = next(
            (file.about["results"] for file in artifact.files if "results" in file.about), {}
        )
        widths = _of_pieces(artifact, lambda file: "bits_per_weight" in file.about)
        return [_measured(width.name, width.size, measured.get(width.name, {})) for width in widths]
    if artifact.command == "quantize-gptq":
        size = sum(file.size for file in artifact.files if file.path.endswith(_WEIGHTS))
        found: dict[str, Any] = next((file.about for file in artifact.files if "mean_kld" in file.about), {})
        return [_measured(name, size, found)]
    return []


def _of_pieces(artifact: Artifact, is_one: Any) -> Iterator[Quantization]:
    pieces: dict[str, list[OutputFile]] = {}
    for file in artifact.files:
        if file.piece and is_one(file):
            pieces.setdefault(file.piece, []).append(file)
    for name, files in pieces.items():
        weights = [file.size for file in files if file.path.endswith(_WEIGHTS)]
        yield _measured(name, sum(weights), files[0].about.get("quality", {}))


def _measured(name: str, size: int, found: Mapping[str, Any]) -> Quantization:
    return Quantization(
        name, size, found.get("mean_kld"), found.get("perplexity"), found.get("base_perplexity")
    )


def scores(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """Of an evaluation: for each model its `average` and the figures of its `groups`, in percent."""
    found: dict[str, Any] = next(
        (file.about["scores"] for file in artifact.files if "scores" in file.about), {}
    )
    return found


def sentences(artifact: Artifact | None, name: str) -> list[str]:
    """The figures of a result as a person reads them in a table, a line each."""
    if artifact is None:
        return []
    lines = [each.sentence() for each in quantizations(artifact, name)]
    for model, found in scores(artifact).items():
        average = found.get("average")
        groups = ", ".join(f"{name} {_shown(value)}" for name, value in found["groups"].items())
        lines.append(f"{model}: {_shown(average)} ({groups})")
    return lines


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else str(value)
