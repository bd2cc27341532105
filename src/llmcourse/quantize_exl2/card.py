"""The model cards: of all results on main, and of each where it is published by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmcourse.core import licences
from llmcourse.core.artifact import Artifact
from llmcourse.core.card import Card, CardMetadata, linked_name, quantized_head, render
from llmcourse.core.config import HubTarget
from llmcourse.core.console import human_bytes
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import licence_of, stated_context
from llmcourse.core.plan import Facts
from llmcourse.quantize_exl2.config import Config
from llmcourse.quantize_exl2.naming import MEASUREMENT_NAME, QUALITY_NAME, is_width

_CARD_NAME = "README.md"
_CACHE = 8192  # tokens; a cache for the whole context of today's models takes more memory than they do


@dataclass(frozen=True)
class Row:
    """One result: its bytes, what is known of it, where it is published."""

    name: str
    size: int
    about: dict[str, Any]
    place: HubTarget | None
    quality: dict[str, Any]

    @property
    def shown_size(self) -> str:
        return human_bytes(self.size)

    @property
    def perplexity(self) -> str:
        """On the calibration text, by the converter's own word; thousands mean that it failed."""
        found = self.about.get("calibration_perplexity")
        return "" if found is None else f"{found:.2f}"

    @property
    def link(self) -> str:
        if self.place is None:
            return f"[{self.name}]({self.name})"
        tree = "" if self.place.revision == "main" else f"/tree/{self.place.revision}"
        return f"[{self.name}](https://huggingface.co/{self.place.repo}{tree})"

    @property
    def figures(self) -> tuple[str, ...]:
        """Perplexity, mean KL divergence, same top token; empty where it was not measured."""
        if not self.quality:
            return ("", "", "")
        found = self.quality
        return (f"{found['perplexity']:.4f}", f"{found['mean_kld']:.2e}", f"{found['same_top']:.2%}")


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """Pure: the same config, facts and files give the same cards."""
    model = facts.models[config.model]
    assert isinstance(model, ModelFacts), "the plan refuses models that cannot be read"
    rows = sorted(_rows(config, artifact, repo), key=lambda row: row.size)
    licence = licences.combine({model.name: licence_of(config.card, model)})
    stated = stated_context(model)
    quality: dict[str, Any] = next((file.about for file in artifact.files if file.path == QUALITY_NAME), {})
    shared = {
        "is_tried": bool(quality),
        "context": min(stated or _CACHE, _CACHE),
        "stated_context": stated,
        "is_chat": any(file.about.get("is_chat") for file in artifact.files),
        "model": linked_name(model),
        "head_bits": config.head_bits,
        "calibration": _calibration(artifact.details.get("calibration", {})),
        "measurement": MEASUREMENT_NAME,
        "main": repo,
        "branch": config.hub.revision if config.hub else "main",
        "licence_warning": "" if config.card.license else licence.warning,
        "versions": artifact.versions | artifact.details.get("dependencies", {}),
    }
    metadata = quantized_head(model, licence.name, ["exl2", *config.card.tags], library="exllamav2")
    title = repo.rpartition("/")[2] if repo else f"{model.name}-exl2"
    values = {"title": title, "rows": rows, "quality": _of_original(quality), "is_one": False, **shared}
    texts = {f"{row.name}/{_CARD_NAME}": _card_of(row, model, metadata, shared) for row in rows}
    return Card(metadata, values, texts)


def _card_of(row: Row, model: ModelFacts, metadata: CardMetadata, shared: dict[str, Any]) -> str:
    """The card of one result; it says nothing of the others, so that it stays when they change."""
    is_own_repo = row.place is not None and row.place.repo != shared["main"]
    title = (
        str(row.place.repo).rpartition("/")[2] if row.place and is_own_repo else f"{model.name} {row.name}"
    )
    values = {"title": title, "rows": [row], "quality": None, "is_one": True, **shared}
    return render(Card(metadata, values), __package__)


def _rows(config: Config, artifact: Artifact, repo: str | None) -> Iterator[Row]:
    measured = [file.about["results"] for file in artifact.files if file.path == QUALITY_NAME]
    quality: dict[str, Any] = measured[0] if measured else {}
    for name in dict.fromkeys(file.piece for file in artifact.files if is_width(file.piece)):
        files = [file for file in artifact.files if file.piece == name]
        revision = config.hub.revision if config.hub else "main"
        place = config.target_of(name, HubTarget(repo=repo, revision=revision)) if repo else None
        yield Row(name, sum(file.size for file in files), files[0].about, place, quality.get(name, {}))


def _of_original(quality: dict[str, Any]) -> dict[str, Any] | None:
    """What the figures are of; None where nothing was measured."""
    if not quality:
        return None
    first = next(iter(quality["results"].values()))
    return {
        "text": quality["text"],
        **{name: first[name] for name in ("base_perplexity", "chunks", "context")},
    }


def _calibration(found: dict[str, Any]) -> str:
    """Where the calibration text is from: ids, names and hashes."""
    if not found:
        return "the set that exllamav2 brings"
    amount = f", {found['samples']} rows of {found['length']} tokens"
    seed = f", seed {found['seed']}" if found.get("dataset") else ""  # files are read in their own order
    if "files" in found:
        named = [f"`{file['name']}` (sha256 {file['sha256'][:12]}…)" for file in found["files"]]
        return ", ".join(named) + amount
    config = f", {found['name']}" if found.get("name") else ""
    at = f" at {found['revision'][:8]}" if found.get("revision") else ""
    return (
        f"[{found['dataset']}](https://huggingface.co/datasets/{found['dataset']}){config}{at}{amount}{seed}"
    )
