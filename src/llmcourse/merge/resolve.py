"""Turn our validated documents into mergekit's own, with every model as a local folder.

References are given to mergekit as objects, never as text: it splits text at "@" and "+", which
folders may hold.
"""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

from mergekit.common import ModelPath, ModelReference
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions

from llmcourse.core.isolated import Job
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
    """Knows where each model of a job lies; merges LoRAs into their models when they are asked for."""

    def __init__(self, job: Job, options: MergeOptions) -> None:
        self._inputs = job.inputs
        self._scratch = job.scratch
        self.options = options

    def document(self, stage: Recipe | Moe) -> dict[str, Any]:
        """The document as mergekit reads it, every model being a local folder."""
        document = stage.model_dump(mode="json", exclude_unset=True)
        document.pop("name", None)
        resolved: dict[str, Any] = self._resolved(document)
        return resolved

    def recipe(self, stage: Recipe) -> MergeConfiguration:
        return OrderedConfiguration.model_validate(self.document(stage))

    def stage_folder(self, stage: Recipe | Moe) -> Path:
        return self._stage(str(stage.name))

    def _stage(self, name: str) -> Path:
        """A stage may be named like a repository, with a slash."""
        return self._scratch / "stages" / name.replace("/", "--")

    def _folder(self, text: str) -> str:
        """A model's folder: an input, or the result of an earlier stage."""
        return self._inputs.get(text) or str(self._stage(text))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("model"), str):
            return self._reference(Reference.model_validate(value))
        return {key: item if key == "parameters" else self._resolved(item) for key, item in value.items()}

    def _reference(self, reference: Reference) -> dict[str, Any]:
        folder = self._folder(reference.model)
        if reference.lora:
            folder = str(self._with_lora(folder, self._folder(reference.lora)))
        return {
            "model": {"path": folder, "revision": None},
            "lora": None,
            "override_architecture": reference.override_architecture,
        }

    def _with_lora(self, model: str, lora: str) -> Path:
        """The model with its LoRA merged in, by mergekit; half-made ones never get the final name."""
        cache = Path(self.options.lora_merge_cache or self._scratch / "loras")
        final = cache / hashlib.sha256(f"{model}\0{lora}".encode()).hexdigest()[:16]
        if final.exists():
            return final
        growing = final.with_suffix(".growing")
        if growing.exists():
            shutil.rmtree(growing)
        both = ModelReference(model=ModelPath(path=model), lora=ModelPath(path=lora))
        logging.info("Merging the LoRA %s into %s", lora, model)
        merged = both.merged(
            cache_dir=str(growing),
            trust_remote_code=self.options.trust_remote_code,
            lora_merge_dtype=self.options.lora_merge_dtype,
        )
        made = Path(merged.model.path)
        _copy_tokenizer_files(Path(model), made)
        made.rename(final)
        return final


def _copy_tokenizer_files(source: Path, target: Path) -> None:
    """peft saves weights and config only, and the donor of the tokenizer may be this model."""
    for path in source.iterdir():
        if path.is_file() and not (target / path.name).exists() and "safetensors" not in path.name:
            shutil.copyfile(path, target / path.name)
