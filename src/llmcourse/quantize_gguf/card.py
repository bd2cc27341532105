"""The model card of GGUF files: which to choose, what each costs, how to run them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmcourse.core import licences
from llmcourse.core.artifact import Artifact, OutputFile
from llmcourse.core.calibration import provenance
from llmcourse.core.card import Card, linked_name, quantized_head
from llmcourse.core.console import human_bytes
from llmcourse.core.errors import LlmcourseError
from llmcourse.core.model import ModelFacts
from llmcourse.core.model_checks import licence_of
from llmcourse.core.plan import Facts, FileFacts
from llmcourse.quality.wish import quality_key
from llmcourse.quantize_gguf.advice import advice, beaten_by, fallback_words, made_of
from llmcourse.quantize_gguf.config import Config
from llmcourse.quantize_gguf.naming import IMATRIX_PIECE, PLOT_NAME, PROJECTOR_PIECE
from llmcourse.quantize_gguf.shown import types_table as shown

__all__ = ["card", "shown"]

# The first file on the Hub comes with licence and origin; the last one may be an hour behind it.
TELLS_OF_PARTS = True

# Beside the weights: compute buffers, and the cache of a context of a few thousand tokens.
_RUNNING_SHARE, _RUNNING_BYTES = 1.1, 300_000_000
_USUAL_CONTEXT = 8192  # the cache of more takes gigabytes
_USUAL = ("Q4_K_M", "Q5_K_M", "Q8_0", "Q6_K")


@dataclass(frozen=True)
class Row:
    """One type in the table: its first file, the number of files, what is known of it."""

    type: str
    file: str
    files: int
    size: int
    about: dict[str, Any]

    @property
    def shown_size(self) -> str:
        return human_bytes(self.size)

    @property
    def memory(self) -> str:
        return human_bytes(round(self.size * _RUNNING_SHARE) + _RUNNING_BYTES)

    @property
    def bits(self) -> str:
        return f"{self.about['bits_per_weight']:.2f}" if "bits_per_weight" in self.about else ""

    def figures(self, key: str) -> dict[str, str]:
        """Figures of the measurement with this key as texts, empty where it was not measured so."""
        found = self.about.get("quality", {})
        if found.get("key") != key:
            return {"perplexity": "", "mean_kld": "", "kld_99": "", "same_top": ""}
        return {
            "perplexity": f"{found['perplexity']:.4f}",
            "mean_kld": f"{found['mean_kld']:.2e}",
            "kld_99": f"{found['kld_99']:.2e}",
            "same_top": f"{found['same_top']:.2%}",
        }


def card(config: Config, facts: Facts, artifact: Artifact, repo: str | None) -> Card:
    """Pure: the same config, facts and files give the same card."""
    model = facts.models[config.model]
    assert isinstance(model, ModelFacts), "the plan refuses models that cannot be read"
    rows = sorted(_rows(artifact.files), key=lambda row: row.size)
    licence = licences.combine({model.name: licence_of(config.card, model)})
    measured = _measurement(config, facts, rows)
    known = [made_of(row.type, row.size, row.about, (measured or {}).get("key", "")) for row in rows]
    worth = [row for row, one in zip(rows, known, strict=True) if not beaten_by(one, known)]
    last = (worth or rows)[-1] if rows else None
    values = {
        "title": repo.rpartition("/")[2] if repo else f"{model.name}-GGUF",
        "model": linked_name(model),
        "place": repo,
        "is_adapter": model.is_adapter,
        "rows": rows,
        "advice": {one.type: advice(one, known) for one in known},
        "fallbacks": {
            row.type: fallback_words(row.about["fallbacks"]) for row in rows if row.about.get("fallbacks")
        },
        "kept": next((row.about["kept"] for row in rows if row.about.get("kept")), {}),
        "usual": next((row for name in _USUAL for row in worth if row.type == name), last),
        "measured": measured,
        **_use(facts),
        "plot": PLOT_NAME if any(file.path == PLOT_NAME for file in artifact.files) else None,
        "imatrix": _imatrix(config, facts, artifact),
        "left_out_part": None if config.mmproj else _answers(facts).get("projector"),
        "projector": next((file for file in artifact.files if file.piece == PROJECTOR_PIECE), None),
        "tensor_types": config.tensor_types,
        "pre_tokenizer": artifact.details.get("pre_tokenizer") or {"how": "none"},
        "licence_warning": "" if config.card.license else licence.warning,
        "versions": artifact.versions,
    }
    tags = ["gguf", "llama.cpp", "autoquant", *(["imatrix"] if config.imatrix else []), *config.card.tags]
    base = facts.models.get(config.base or "") if model.is_adapter else None
    assert not isinstance(base, LlmcourseError), "the plan refuses models that cannot be read"
    return Card(quantized_head(model, licence.name, tags, library="gguf", base=base), values)


def _answers(facts: Facts) -> Mapping[str, Any]:
    return {} if isinstance(facts.answers, LlmcourseError) else facts.answers


def _use(facts: Facts) -> dict[str, Any]:
    """How the model is run: as a chat or not, and with how many tokens at most, where that is known."""
    answers = _answers(facts)
    context = answers.get("context_length")
    return {
        "is_chat": bool(answers.get("has_chat_template")),
        "context_length": context,
        "n_ctx": min(context or _USUAL_CONTEXT, _USUAL_CONTEXT),
        "left_out_layers": bool(answers.get("missing_nextn")),
    }


def _measurement(config: Config, facts: Facts, rows: list[Row]) -> dict[str, Any] | None:
    """What the table is of: the measurement that is asked for now, else the one most types have."""
    found = [row.about["quality"] for row in rows if "quality" in row.about]
    file = facts.files.get(config.quality.text) if config.quality else None
    if config.quality and isinstance(file, FileFacts):
        wanted = quality_key(file.sha256, config.quality.chunks)
        found = [quality for quality in found if quality["key"] == wanted]
    keys = [quality["key"] for quality in found]
    return max(found, key=lambda quality: keys.count(quality["key"]), default=None)


def _rows(files: tuple[OutputFile, ...]) -> Iterator[Row]:
    types = dict.fromkeys(file.piece for file in files if "type" in file.about)
    for name in types:
        shards = sorted((file for file in files if file.piece == name), key=lambda file: file.path)
        size = sum(file.size for file in shards)
        yield Row(name, shards[0].path, len(shards), size, shards[0].about)


def _imatrix(config: Config, facts: Facts, artifact: Artifact) -> dict[str, Any] | None:
    """Where the importance matrix is from: names and hashes, no folders of this machine."""
    wish = config.imatrix
    if wish is None:
        return None
    source = wish.text or wish.file or ""
    file = facts.files.get(source)
    data = wish.documents()
    made = next((file.about for file in artifact.files if file.piece == IMATRIX_PIECE), {})
    return {
        "name": source.rpartition("/")[2],
        "sha256": file.sha256[:12] if isinstance(file, FileFacts) else "",
        "chunks": None if wish.file else made.get("chunks", wish.chunks),
        "dataset": provenance(data, facts) if data and data.dataset else None,
        "unused": sorted(made.get("never_chosen", {})),
        "pinned": _tensors(artifact, "pinned"),
        "unweighted": _tensors(artifact, "unweighted"),
    }


def _tensors(artifact: Artifact, what: str) -> list[str]:
    """Tensors that at least one type names under `what`."""
    return sorted({name for file in artifact.files for name in file.about.get(what, ())})
