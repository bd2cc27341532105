"""Turn our validated documents into mergekit's own, with every model as a local folder.

References are given to mergekit as objects, never as text: it splits text at "@" and "+", which
folders may hold.
"""

from pathlib import Path
from typing import Any

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from llmcourse.core.isolated import Job
from llmcourse.core.model import ModelRef
from llmcourse.core.progress import Progress
from llmcourse.merge.loras import Adapted
from llmcourse.merge.methods import METHODS
from llmcourse.merge.recipe import Moe, Recipe, Reference


class OrderedConfiguration(MergeConfiguration):  # type: ignore[misc]
    """mergekit's configuration, whose models come in the order they are written.

    mergekit takes them from a set, so the donor of config and tokenizer, and the vocabulary order of a
    tokenizer union, change from process to process (mergekit 0.1.5, config.py, referenced_models).
    """

    def referenced_models(self) -> list[ModelReference]:
        found = [self.base_model] if self.base_model else []
        found += [entry.model for entry in self.models or []]
        for part in self.slices or []:
            found += [source.model for source in part.sources]
        for module in (self.modules or {}).values():
            found += [entry.model for entry in module.models or []]
            for part in module.slices or []:
                found += [source.model for source in part.sources]
        return list(dict.fromkeys(found))


class Resolver:
    """Knows where each model of a job lies, and where each model with its LoRA will lie."""

    def __init__(self, job: Job, options: MergeOptions) -> None:
        self._inputs = job.inputs
        self._scratch = job.scratch
        self._spellings: dict[str, list[str]] = {}  # of each folder, as the config writes it
        self._public: dict[str, str] = {}  # what may be published of each such spelling
        self.options = options

    def document(self, stage: Recipe | Moe) -> dict[str, Any]:
        """The document as mergekit reads it, every model being a local folder."""
        document = stage.model_dump(mode="json", exclude_unset=True)
        document.pop("name", None)
        tokenizer = stage.tokenizer if isinstance(stage, Recipe) else None
        if tokenizer and tokenizer.source == "base" and tokenizer.tokens:
            # mergekit adds new tokens to the very object that it then takes the base's vocabulary from, and
            # fails (0.1.5, tokenizer/build.py). A tokenizer by the base's name is read anew.
            base = stage.references()[0].model_dump(mode="json")
            document["tokenizer"] = document["tokenizer"] | {"source": base}
        resolved: dict[str, Any] = self._resolved(document, frozenset(stage.references()))
        return resolved

    def recipe(self, stage: Recipe) -> MergeConfiguration:
        return OrderedConfiguration.model_validate(self.document(stage))

    def merge_loras(self, stage: Recipe | Moe, progress: Progress) -> None:
        """Make the models with LoRAs that a stage reads, in the order in which mergekit reads them."""
        is_random = isinstance(stage, Recipe) and METHODS[stage.merge_method].is_random
        for reference in stage.references():
            if reference.lora:
                self._adapted(reference).make(self.options, progress, is_random)

    def public_name(self, model: ModelReference) -> str:
        """Of a model of a document made here: a Hub id, a stage, or a folder's own name."""
        written = model.model.revision or self._spellings[str(model.model.path)][0]
        return self._public[written]

    def stage_folder(self, stage: Recipe | Moe) -> Path:
        return self._stage(str(stage.name))

    def _stage(self, name: str) -> Path:
        """A stage may be named like a repository, with a slash."""
        return self._scratch / "stages" / name.replace("/", "--")

    def _folder(self, text: str) -> str:
        """A model's folder: an input, or the result of an earlier stage."""
        return self._inputs.get(text) or str(self._stage(text))

    def _resolved(self, value: Any, weights: frozenset[Reference]) -> Any:
        if isinstance(value, list):
            return [self._resolved(item, weights) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("model"), str):
            return self._reference(Reference.model_validate(value), weights)
        return {
            key: item if key == "parameters" else self._resolved(item, weights) for key, item in value.items()
        }

    def _reference(self, reference: Reference, weights: frozenset[Reference]) -> dict[str, Any]:
        """What gives no weights is read for its tokenizer, which no LoRA changes."""
        is_adapted = reference.lora and reference in weights
        folder = str(self._adapted(reference).folder if is_adapted else self._folder(reference.model))
        # `a` and `./a`, or `a@main` where a is a folder, are two models to mergekit. A revision, which nobody
        # reads of a folder, keeps them apart.
        spellings = self._spellings.setdefault(folder, [])
        if str(reference) not in spellings:
            spellings.append(str(reference))
        self._public[str(reference)] = " + ".join(map(_public, reference.parts))
        first = spellings[0] == str(reference)
        return {
            "model": {"path": folder, "revision": None if first else str(reference)},
            "lora": None,
            "override_architecture": reference.override_architecture,
        }

    def _adapted(self, reference: Reference) -> Adapted:
        model, lora = self._folder(reference.model), self._folder(str(reference.lora))
        return Adapted.of(model, lora, self._scratch, self.options)


def _public(written: str) -> str:
    """Without the way to a folder."""
    ref = ModelRef.parse(written)
    return ref.place.name if ref.is_local else written
