"""A model as the converter sees it: its class found, metadata and tensors laid out, nothing computed yet."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.converter.intercepted import intercepted
from llmcourse.quantize_gguf.converter.library import Converter
from llmcourse.quantize_gguf.converter.metadata import known_metadata
from llmcourse.quantize_gguf.converter.nextn import Nextn, left_out, read_nextn, tensor_names
from llmcourse.quantize_gguf.converter.pre_tokenizer import PreTokenizer, Resolver
from llmcourse.quantize_gguf.converter.refusals import converter_errors
from llmcourse.quantize_gguf.converter.senses import projector_of

_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model",
    "tokenizer_config.json", "*.tiktoken", "*vocab*.txt", "qwen.tiktoken", "ice_text.model",
)  # fmt: skip
# What a vocabulary is read from; the index of the weights is none of it.
_VOCABULARY_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py", "*_templates/*.jinja")


@dataclass(frozen=True)
class Vocabulary:
    """What the converter wrote about the tokenizer: GGUF entries by key, in order."""

    entries: Mapping[str, Any]
    pre_tokenizer: PreTokenizer


@dataclass(frozen=True)
class Prepared:
    """What the converter would write now.

    `model` is the object that filled `writer`: some of the converter's classes hand all work to an inner one.
    """

    model: Any
    writer: Any
    pre_tokenizer: PreTokenizer
    nextn: Nextn
    card_problem: str | None = None  # why the model's card was passed over
    projector: str | None = None  # what the language model's file leaves to a projector: "vision", …


@dataclass
class Preparer:
    """Lays models out; reads a tokenizer once, however often its model comes."""

    converter: Converter
    _vocabularies: dict[str, Vocabulary] = field(default_factory=dict)

    def prepare(
        self,
        folder: Path,
        metadata: Mapping[str, Any],
        pre_tokenizer: str | None,
        scratch: Path,
        is_projector: bool = False,
    ) -> Prepared:
        """Have the converter do all that it does before it computes values.

        Args:
            metadata: what to write in place of what the converter finds or guesses; see `known_metadata`.
            pre_tokenizer: llama.cpp's name of it, None to find out.
            is_projector: lay out the vision or audio encoder (`--mmproj`) instead of the language model.

        Raises:
            PlanError: the converter does not support this model, or a file of it is missing or damaged.
        """
        check_kind(folder)
        gguf = self.converter.gguf
        read_vocabulary = partial(self._set_vocabulary, given=pre_tokenizer, scratch=scratch)
        with (
            converter_errors(),
            torch.inference_mode(),
            known_metadata(gguf, metadata, scratch) as reading,
            intercepted(self.converter, read_vocabulary) as found,
            self._made(folder, scratch, is_projector) as (model, nextn),
        ):
            found.write(model)
        _check_vocabulary(found.writer)
        vocabulary = self._vocabularies.get(_fingerprint(folder))
        known = vocabulary.pre_tokenizer if vocabulary and not is_projector else PreTokenizer(None, "none")
        hparams = self.converter.conversion.ModelBase.load_hparams(folder, False)
        projector = None if is_projector else projector_of(self.converter, hparams, tensor_names(folder))
        return Prepared(found.model, found.writer, known, nextn, reading.card_problem, projector)

    @contextmanager
    def _made(self, folder: Path, scratch: Path, is_projector: bool) -> Iterator[tuple[Any, Nextn]]:
        """The converter's model, in the precision of its weights, without layers that are not there."""
        kinds = self.converter.gguf.LlamaFileType
        hparams = self.converter.conversion.ModelBase.load_hparams(folder, False)
        model_class = self._model_class(hparams, is_projector)
        unwritten = scratch / "unwritten.gguf"
        nextn = read_nextn(hparams, folder)
        with left_out(model_class, nextn, hparams) as changed:
            arguments = _with_context(changed, hparams)
            model = model_class(folder, kinds.GUESSED, unwritten, **arguments)
            if _is_float32(model):  # the converter guesses half precision for these
                model = model_class(folder, kinds.ALL_F32, unwritten, **arguments)
            yield model, nextn

    def _model_class(self, hparams: dict[str, Any], is_projector: bool) -> Any:
        conversion = self.converter.conversion
        kind = conversion.ModelType.MMPROJ if is_projector else conversion.ModelType.TEXT
        architecture = conversion.get_model_architecture(hparams, kind)
        try:
            return conversion.get_model_class(architecture, mmproj=is_projector)
        except (NotImplementedError, KeyError):  # it lists names that no class is registered for
            what = "the vision encoder of" if is_projector else "the architecture"
            raise PlanError(
                f"llama.cpp's converter does not support {what} {architecture}.",
                "Leave mmproj out, or use a newer llama-cpp-python if it supports this one."
                if is_projector
                else "Quantize another model, or use a newer llama-cpp-python if it supports this one.",
            ) from None

    def _set_vocabulary(self, model: Any, given: str | None, scratch: Path) -> None:
        """Take the place of the model's `set_vocab`, which then runs once per tokenizer."""
        entries = model.gguf_writer.kv_data[0]
        key = _fingerprint(model.dir_model)
        known = self._vocabularies.get(key)
        if known and known.pre_tokenizer.answers(given):
            entries.update(known.entries)
            return
        before = dict(entries)
        resolver = Resolver(self.converter, model, given, scratch)
        type(model).set_vocab(model)
        pre_tokenizer = resolver.resolve()
        written = {name: value for name, value in entries.items() if before.get(name) is not value}
        self._vocabularies[key] = Vocabulary(written, pre_tokenizer)


def _with_context(arguments: dict[str, Any], hparams: dict[str, Any]) -> dict[str, Any]:
    """Say the context of a GPT-2 under its older name, too: transformers 5 writes n_positions alone."""
    if "n_positions" not in hparams or "n_ctx" in hparams:
        return arguments
    return arguments | {"hparams": {**arguments.get("hparams", hparams), "n_ctx": hparams["n_positions"]}}


def _is_float32(model: Any) -> bool:
    """Whether the weights are stored in 32 bits, by the first matrix, as the converter guesses."""
    matrices = (tensor for _, tensor in model.get_tensors() if tensor.dim() > 1)
    first = next(matrices, None)
    return first is not None and first.dtype == torch.float32


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


def _check_vocabulary(writer: Any) -> None:
    """llama.cpp loads no model whose embeddings and tokenizer differ, and the converter does not mind."""
    embeddings = writer.tensors[0].get("token_embd.weight")
    tokens = writer.kv_data[0].get("tokenizer.ggml.tokens")
    if embeddings and tokens and embeddings.shape[0] != len(tokens.value):
        raise PlanError(
            f"The embeddings have {embeddings.shape[0]} rows, the vocabulary {len(tokens.value)} tokens.",
            "Make `vocab_size` in config.json the number of rows, or give the tokenizer that belongs here.",
        )


def _fingerprint(folder: Path) -> str:
    """Equal for folders with the same tokenizer and config, wherever they are."""
    digest = hashlib.sha256()
    paths = {path for pattern in _VOCABULARY_FILES for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        if not path.name.endswith(".index.json"):
            digest.update(f"{path.relative_to(folder)}\n{path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
