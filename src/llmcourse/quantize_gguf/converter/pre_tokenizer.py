"""Which of llama.cpp's pre-tokenizers splits text as a model's own tokenizer does.

The converter knows a byte-level BPE tokenizer by a hash of the ids it gives to one text, so a vocabulary
that changed in the least is unknown to it, though its pre-tokenizer is mostly a common one.  Here the
vocabulary is written as a file, llama.cpp loads it under one name after another, and the ids it gives to
varied text are compared with the tokenizer's own.  The first name that agrees on all of it is right.

A known hash is no proof either: it is of one text, and a tokenizer that lost a step when it was saved anew
may give that one the same ids.  So the name that belongs to it is compared, too, and before the others.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.quantize_gguf.converter.intercepted import OURS
from llmcourse.quantize_gguf.converter.library import Converter
from llmcourse.quantize_gguf.converter.sample_text import sample_texts
from llmcourse.quantize_gguf.converter.source import PRE_TOKENIZERS
from llmcourse.quantize_gguf.versions import INSTALL

_KEY = "tokenizer.ggml.pre"
# The common ones are tried first: where several agree on everything, the most usual is the likeliest.
_COMMON = ("gpt-2", "llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-v3", "deepseek-llm", "starcoder")
_EXCERPT = 40  # characters
_ABORTS = "any (llama.cpp aborts)"
_TRIAL = "llmcourse.quantize_gguf.converter.trial"


@dataclass(frozen=True)
class PreTokenizer:
    """The name in the file and how it was found.

    `how` is "known" (the converter's own hash), "matched" (by trial), "given" (by the user), or "none" (a
    tokenizer that has none, as SentencePiece).  `candidates` are names of llama.cpp that mean the same.
    `matches` is what a trial said; None where there was none.  `differs` is the first text that is split
    otherwise under that name, or under `instead_of`, which is the name that the hash stands for.
    """

    name: str | None
    how: str
    candidates: tuple[str, ...] = ()
    matches: bool | None = None
    differs: str = ""
    instead_of: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def answers(self, given: str | None) -> bool:
        """Whether this is what would be found for the same tokenizer and that wish of the user's."""
        return given == self.name or (given is None and self.how != "given")


class Resolver:
    """Stands in the converter's way when it looks for the pre-tokenizer of a model."""

    def __init__(self, converter: Converter, model: Any, given: str | None, scratch: Path) -> None:
        self._converter = converter
        self._model = model
        self._given = given
        self._scratch = scratch
        self._tokenizer: Any = None
        self._known: str | None = None
        model.get_vocab_base_pre = self._get_vocab_base_pre

    def _get_vocab_base_pre(self, tokenizer: Any) -> str:
        """What the converter calls; an unknown one gets a name that `resolve` puts right."""
        self._tokenizer = tokenizer
        try:
            self._known = type(self._model).get_vocab_base_pre(self._model, tokenizer)
        except NotImplementedError:
            self._known = None
        return self._given or self._known or _COMMON[0]

    def resolve(self) -> PreTokenizer:
        """After the vocabulary is in the writer: find the name and put it there.

        Raises:
            PlanError: no name of llama.cpp fits, or the given one is unknown to it.
        """
        if self._tokenizer is None:
            return PreTokenizer(self._entries().get(_KEY), "none")
        groups = pre_tokenizer_groups(self._converter.folder)
        found = self._verified(self._given, groups) if self._given else self._matched(groups)
        if found.name == self._known:
            return found
        self._model.gguf_writer.add_tokenizer_pre(found.name)
        if self._known is None and "tokenizer.ggml.add_bos_token" not in self._entries():
            # Some names bring a BOS token by themselves, whether or not this tokenizer adds one.
            first_id = next(iter(self._tokenizer.encode("a")), None)
            bos_id = self._tokenizer.bos_token_id
            self._model.gguf_writer.add_add_bos_token(bos_id is not None and first_id == bos_id)
        return found

    def _entries(self) -> dict[str, Any]:
        return {key: entry.value for key, entry in self._model.gguf_writer.kv_data[0].items()}

    def _verified(self, name: str, groups: Sequence[tuple[str, ...]]) -> PreTokenizer:
        names = [name for group in groups for name in group]
        if name not in names:
            close = get_close_matches(name, names, 1)
            raise PlanError(
                f"llama.cpp knows no pre-tokenizer {name!r}.",
                f"Did you mean {close[0]}?" if close else f"Choose one of {', '.join(names)}.",
                where="pre_tokenizer",
            )
        (difference,) = self._differences([name]).values() or (_ABORTS,)
        return PreTokenizer(name, "given", matches=difference is None, differs=difference or "")

    def _matched(self, groups: Sequence[tuple[str, ...]]) -> PreTokenizer:
        """The name that the converter knows, if it is right, else the first of all that is."""
        known = [self._known] if self._known else []
        names = list(dict.fromkeys([*known, *(group[0] for group in groups)]))
        found = self._differences(names)
        name = next((name for name, difference in found.items() if difference is None), None)
        if name == self._known and name is not None:
            return PreTokenizer(name, "known", matches=True)
        of_known = found.get(self._known or "") or ""
        if (
            name is None and self._known
        ):  # made for it; where llama.cpp itself differs, no other file would do
            return PreTokenizer(self._known, "known", matches=False, differs=of_known or _ABORTS)
        if name is None:
            text = found.get(_COMMON[0]) or next(filter(None, found.values()), _ABORTS)
            raise PlanError(
                "No pre-tokenizer of llama.cpp splits text as this model's tokenizer does "
                f"({len(names)} were tried); the first text that {_COMMON[0]} splits otherwise is {text}.",
                "Set `pre_tokenizer: NAME` to the nearest one if some text may be split otherwise, "
                "or use a newer llama-cpp-python.",
                where="pre_tokenizer",
            )
        (group,) = (group for group in groups if group[0] == name)
        return PreTokenizer(name, "matched", group, True, of_known, self._known or "")

    def _differences(self, names: Sequence[str]) -> dict[str, str | None]:
        """The first text that is split otherwise, by name, up to the first name under which none is."""
        texts = sample_texts(self._tokenizer)
        ids = [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        with tempfile.TemporaryDirectory(prefix="trial-", dir=self._scratch) as folder:
            vocabulary = Path(folder) / "vocabulary.gguf"
            self._write_vocabulary(vocabulary)
            found = tried(vocabulary, names, texts, ids, Path(folder) / "task.json")
        return {name: None if index is None else _excerpt(texts[index]) for name, index in found.items()}

    def _write_vocabulary(self, path: Path) -> None:
        """A file with the tokenizer and nothing else."""
        source = self._model.gguf_writer
        writer = self._converter.gguf.GGUFWriter(path, source.arch)
        setattr(writer, OURS, True)
        for key, entry in source.kv_data[0].items():
            if key.startswith("tokenizer."):
                writer.add_key_value(key, entry.value, entry.type, entry.sub_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()


def pre_tokenizer_groups(folder: Path) -> list[tuple[str, ...]]:
    """llama.cpp's names, those that it treats alike together, the common ones first.

    Within a group the name that the converter itself writes is first.  Source: the comparisons with
    `tokenizer_pre` in src/llama-vocab.cpp, each chain of which ends in what is done for its names.

    Raises:
        LibraryError: they are not written there as they were in 0.3.36.
    """
    text = (folder / PRE_TOKENIZERS).read_text("utf-8")
    own = set(re.findall(r'res = "([^"]+)"', (folder / "conversion" / "base.py").read_text("utf-8")))
    groups: dict[str, list[str]] = {}
    for condition, action in re.findall(r"if \(\s*(tokenizer_pre == [^{]*)\{([^}]*)\}", text):
        groups.setdefault(" ".join(action.split()), []).extend(re.findall(r'"([^"]+)"', condition))
    ordered = [tuple(sorted(names, key=lambda name: name not in own)) for names in groups.values()]
    if not any("gpt-2" in group for group in ordered):
        raise LibraryError(
            f"{folder / PRE_TOKENIZERS} lists the pre-tokenizers in a way that is not understood.",
            f"{INSTALL} (or set `pre_tokenizer`).",
        )
    return sorted(ordered, key=lambda group: _COMMON.index(group[0]) if group[0] in _COMMON else len(_COMMON))


def tried(
    vocabulary: Path, names: Sequence[str], texts: Sequence[str], ids: Sequence[Sequence[int]], task: Path
) -> dict[str, int | None]:
    """Which of `texts` gets other ids than these under a name: the first one's index, None where none does.

    It ends with the first name under which none does.  A wrong name can abort the process that tries it; that
    name is absent, and another process goes on behind it.

    Args:
        task: a file to write, which tells the process what to do.
    """
    found: dict[str, int | None] = {}
    left = list(names)
    while left:
        job = {"vocabulary": str(vocabulary), "names": left, "texts": texts, "ids": ids}
        task.write_text(json.dumps(job), "utf-8")
        trial = subprocess.run(
            [sys.executable, "-P", "-m", _TRIAL, str(task)],
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in trial.stdout.splitlines():
            name, difference = json.loads(line)
            found[str(name)] = difference
            if difference is None:
                return found
            left.remove(name)
        if trial.returncode > 0:
            raise LibraryError(
                "llama.cpp could not be loaded to try pre-tokenizers.", "Install llama-cpp-python anew."
            )
        left = left[1:]  # what is left was aborted by its first name
    return found


def _excerpt(text: str) -> str:
    """A text in one line, short enough for a sentence."""
    return json.dumps(text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…", ensure_ascii=False)
