"""A model as the converter sees it: its class found, metadata and tensors laid out, nothing computed yet."""

import errno
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmcourse.core.errors import LlmcourseError, PlanError, file_error
from llmcourse.quantize_gguf.converter.library import Converter
from llmcourse.quantize_gguf.converter.pre_tokenizer import NO_PRE_TOKENIZER, PreTokenizer, Resolver

logger = logging.getLogger(__name__)

_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model",
    "tokenizer_config.json", "*.tiktoken", "*vocab*.txt", "qwen.tiktoken", "ice_text.model",
)  # fmt: skip
# What a vocabulary is read from; the index of the weights is none of it.
_VOCABULARY_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py", "*_templates/*.jinja")
_FILE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class Vocabulary:
    """What the converter wrote about the tokenizer: GGUF entries by key, in order."""

    entries: Mapping[str, Any]
    pre_tokenizer: PreTokenizer


@dataclass
class Preparer:
    """Lays models out; reads a tokenizer once, however often its model comes."""

    converter: Converter
    _vocabularies: dict[tuple[str, str | None], Vocabulary] = field(default_factory=dict)

    def prepare(
        self, folder: Path, metadata: Mapping[str, Any], pre_tokenizer: str | None, scratch: Path
    ) -> tuple[Any, PreTokenizer]:
        """Return the converter's model, ready to be written, and which pre-tokenizer it has.

        Args:
            metadata: what to write in place of what the converter finds or guesses, by the names of
                `gguf.Metadata` ("name", "author", "license", "base_models", "quantized_by", …).
            pre_tokenizer: llama.cpp's name of it, None to find out.

        Raises:
            PlanError: the converter does not support this model, or a file of it is missing or damaged.
        """
        check_kind(folder)
        with converter_errors(), torch.inference_mode():
            model = self._model_class(folder)(
                folder,
                self.converter.gguf.LlamaFileType.GUESSED,
                scratch / "unwritten.gguf",
                metadata_override=self._metadata_file(metadata, scratch),
            )
            vocabulary = self._set_vocabulary(model, folder, pre_tokenizer, scratch)
            model.prepare_tensors()
            model.prepare_metadata(vocab_only=False)
            if "license" in metadata:  # the override file knows no licence
                model.gguf_writer.add_license(metadata["license"])
            return model, vocabulary().pre_tokenizer

    def _model_class(self, folder: Path) -> Any:
        conversion = self.converter.conversion
        hparams = conversion.ModelBase.load_hparams(folder, False)
        architecture = conversion.get_model_architecture(hparams, conversion.ModelType.TEXT)
        try:
            return conversion.get_model_class(architecture)
        except NotImplementedError:
            raise PlanError(
                f"llama.cpp's converter does not support the architecture {architecture}.",
                "Quantize another model, or use a newer llama-cpp-python if it supports this one.",
            ) from None

    def _metadata_file(self, metadata: Mapping[str, Any], scratch: Path) -> Path:
        keys = vars(self.converter.gguf.Keys.General)
        named = {keys.get(name.upper(), f"general.{name}"): value for name, value in metadata.items()}
        path = scratch / "metadata.json"
        path.write_text(json.dumps(named), "utf-8")
        return path

    def _set_vocabulary(self, model: Any, folder: Path, given: str | None, scratch: Path) -> Any:
        """Make the model's own `set_vocab` run once per tokenizer; returns a function with its result."""
        key = (_fingerprint(folder), given)

        def set_vocab() -> None:
            entries = model.gguf_writer.kv_data[0]
            if known := self._vocabularies.get(key):
                entries.update(known.entries)
                return
            before = dict(entries)
            resolver = Resolver(self.converter, model, given, scratch)
            type(model).set_vocab(model)
            pre_tokenizer = resolver.resolve()
            written = {name: value for name, value in entries.items() if before.get(name) is not value}
            self._vocabularies[key] = Vocabulary(written, pre_tokenizer)

        model.set_vocab = set_vocab
        return lambda: self._vocabularies.get(key, Vocabulary({}, NO_PRE_TOKENIZER))


def check_kind(folder: Path) -> None:
    """Refuse what is no language model with a tokenizer, with a sentence better than the converter's."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "model_index.json" in names:
        raise PlanError(
            "This is a diffusion pipeline, not a language model.",
            "Give a language model; for image models use stable-diffusion.cpp's own converter.",
            where=folder.name,
        )
    if "modules.json" in names or "config_sentence_transformers.json" in names:
        raise PlanError(
            "This is a sentence-transformers model: it makes embeddings, not text.",
            "Give a language model.",
            where=folder.name,
        )
    if not any(next(folder.glob(pattern), None) for pattern in _TOKENIZERS):
        raise PlanError(
            "The model has no tokenizer (tokenizer.json, tokenizer.model or vocab.json).",
            "Copy the tokenizer's files from the model it is made from.",
            where=folder.name,
        )


@contextmanager
def converter_errors() -> Iterator[None]:
    """Turn what the converter raises, or exits with, into our sentences; its log has the traceback.

    Raises:
        PlanError: the converter cannot convert this model; or the disk is full, a file not readable.
    """
    try:
        yield
    except LlmcourseError:
        raise
    except (Exception, SystemExit) as error:
        logger.exception("the converter failed")
        if isinstance(error, OSError) and error.errno in _FILE_ERRORS:
            raise file_error(error) from error
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise PlanError(
            f"llama.cpp's converter refuses this model: {reason}.",
            "Check that the model is complete and of a kind that llama.cpp supports.",
        ) from error


def _fingerprint(folder: Path) -> str:
    """Equal for folders with the same tokenizer and config, wherever they are."""
    digest = hashlib.sha256()
    paths = {path for pattern in _VOCABULARY_FILES for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        if not path.name.endswith(".index.json"):
            digest.update(f"{path.relative_to(folder)}\n{path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
