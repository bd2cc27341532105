"""The tokenizer of a model as its files write it: its tokens, and what else decides how text is split.

Read without any tokenizer library.  What sentencepiece's own file says (tokenizer.model) is unknown here.

Source: the tokenizer.json of huggingface/tokenizers 0.22, and what transformers writes beside it.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcourse.core.errors import LlmcourseError
from llmcourse.core.layers import of_text
from llmcourse.core.model import ModelFacts

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight",
               "tok_embeddings.weight", "wte.embedding.weight")  # fmt: skip
# Parts of tokenizer.json that decide how text becomes tokens.
_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_SPECIAL = ("bos_token", "eos_token", "add_bos_token", "add_eos_token")
_BIGGEST_BYTES = 100_000_000


@dataclass(frozen=True)
class TokenizerFacts:
    """`tokens` are ids by text, added ones among them; `parts` are hashes of the rest, by name for people."""

    tokens: Mapping[str, int] = field(repr=False)
    parts: Mapping[str, str] = field(repr=False)

    @property
    def last(self) -> tuple[str, int]:
        """The token with the highest id, ("", -1) where there are none."""
        return max(self.tokens.items(), key=lambda item: item[1], default=("", -1))


def read_tokenizer(folder: Path) -> TokenizerFacts | None:
    """What the files in `folder` say; None where there are none that can be read here."""
    whole, settings = _json(folder / "tokenizer.json"), _json(folder / "tokenizer_config.json")
    inner = whole.get("model") if isinstance(whole.get("model"), dict) else {}
    tokens = _vocabulary(inner.get("vocab") if inner else _json(folder / "vocab.json"))
    for entry in whole.get("added_tokens") or []:
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            tokens[str(entry.get("content"))] = entry["id"]
    tokens |= _vocabulary(_json(folder / "added_tokens.json"))
    for number, entry in _mapping(settings.get("added_tokens_decoder")).items():
        if str(number).isdecimal() and isinstance(entry, dict):
            tokens[str(entry.get("content"))] = int(number)
    if not tokens:
        return None
    parts = {name.replace("_", "-"): _digest(whole.get(name)) for name in _PARTS}
    parts["merges"] = _digest(_merges(inner, folder))
    parts["chat template"] = _digest(_template(folder, settings))
    parts |= {name: _digest(_text(settings.get(name))) for name in _SPECIAL}
    return TokenizerFacts(tokens, parts)


def read_tokenizers(
    models: Mapping[str, ModelFacts | LlmcourseError],
    folder_of: Callable[[ModelFacts], Path],
    foreseen: Collection[str] = (),
) -> dict[str, TokenizerFacts]:
    """What the models' tokenizers say, where it can be read; `folder_of` has their small files."""
    found = {}
    for name, model in models.items():
        if not isinstance(model, ModelFacts) or model.is_adapter or model.ref.path in foreseen:
            continue  # what another step is going to make has no files yet
        try:
            tokenizer = read_tokenizer(folder_of(model))
        except LlmcourseError:
            continue  # what is wrong there is said when the model is fetched
        if tokenizer:
            found[name] = tokenizer
    return found


def embedding_rows(model: ModelFacts) -> int | None:
    """How many tokens a model has embeddings for; None where its tensors do not tell."""
    found = [tensor.shape[0] for name, tensor in model.tensors.items()
             if name.endswith(_EMBEDDINGS) and len(tensor.shape) == 2 and "vision" not in name]  # fmt: skip
    return max(found, default=None)


def stated_rows(model: ModelFacts) -> int | None:
    """The vocabulary's size by config.json; None where the number of rows has a name of its own."""
    config = of_text(model)
    stated = config.get("vocab_size")
    return stated if isinstance(stated, int) and "padded_vocab_size" not in config else None


def _json(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _BIGGEST_BYTES:
            return {}
        return _mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _vocabulary(value: Any) -> dict[str, int]:
    """Ids by token, from a mapping or from Unigram's list of tokens and scores."""
    if isinstance(value, list):
        return {
            str(entry[0]): place for place, entry in enumerate(value) if isinstance(entry, list) and entry
        }
    return {str(token): number for token, number in _mapping(value).items() if isinstance(number, int)}


def _merges(inner: Mapping[str, Any] | None, folder: Path) -> Any:
    """BPE's merges, each as one text: older files have "a b" where newer ones have ["a", "b"]."""
    merges = inner.get("merges") if inner else None
    if isinstance(merges, list):
        return [" ".join(map(str, pair)) if isinstance(pair, list) else pair for pair in merges]
    path = folder / "merges.txt"
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else None
    except (OSError, ValueError):
        return None


def _template(folder: Path, settings: Mapping[str, Any]) -> Any:
    path = folder / "chat_template.jinja"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
    except (OSError, ValueError):
        return None


def _text(value: Any) -> Any:
    """A special token, which older files write with its properties."""
    return value.get("content") if isinstance(value, dict) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() if value is not None else ""
