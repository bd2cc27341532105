"""Documents become windows of token ids: tokenized, joined, cut to one length."""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath
from typing import Any

from llmcourse.calibration.documents import texts
from llmcourse.core.calibration import Calibration
from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Progress, Step

# Tokenizers without rules where words end take more than twice the time for twice the text, and hold a
# hundred bytes per token meanwhile.
_BLOCK_CHARACTERS = 1 << 16


def windows(wish: Calibration, revision: str | None, tokenizer: Any, progress: Progress) -> list[list[int]]:
    """`wish.samples` lists of exactly `wish.length` token ids; equal for equal data, seed and tokenizer.

    Documents are joined with the tokenizer's end-of-text token between them, if it has one, and cut where
    a window is full; nothing is padded.  No other special tokens are added: a chat template brings its own.

    Of files, windows are drawn by the seed from all that there are, none twice, and keep their order.  Of a
    data set, which is shuffled already and may have no end, the first ones are taken, and a document gives
    `wish.length` tokens at most, so that a long one does not fill many windows.

    Raises:
        PlanError: there is too little, or as `texts`.
        LibraryError: as `texts`.
    """
    found = _Counted(wish, tokenizer)
    with progress.step("read calibration data", wish.samples, "windows") as step:
        documents = texts(wish, revision, tokenizer, progress)
        cut = found.windows(documents, step)
        kept = list(islice(cut, wish.samples)) if wish.dataset else _drawn(cut, wish.samples, wish.seed)
        if len(kept) < wish.samples:
            raise _too_little(wish, found.tokens, found.documents)
    return kept


class _Counted:
    """Cuts documents into windows, and knows how much it has seen."""

    def __init__(self, wish: Calibration, tokenizer: Any) -> None:
        self._wish = wish
        self._tokenizer = tokenizer
        self._draw = random.Random(wish.seed)
        self.tokens = 0
        self.documents = 0

    def windows(self, documents: Iterator[str], step: Step) -> Iterator[list[int]]:
        length = self._wish.length
        waiting: list[int] = []
        for block in self._blocks(documents):
            self.tokens += len(block)
            waiting += block
            whole = len(waiting) // length * length
            for start in range(0, whole, length):
                if step.done < self._wish.samples:
                    step.advance()
                yield waiting[start : start + length]
            waiting = waiting[whole:]

    def _blocks(self, documents: Iterator[str]) -> Iterator[list[int]]:
        """Token ids of all documents, with what stands between two of them."""
        end = self._tokenizer.eos_token_id
        between = [end] if isinstance(end, int) else []
        last: list[int] = []
        for document in documents:
            if self.documents and last[-1:] != between:
                yield between
            self.documents += 1
            for block in self._document(document):
                last = block or last
                yield block

    def _document(self, document: str) -> Iterator[list[int]]:
        if not self._wish.dataset:
            yield from map(self._ids, _cut_at_line_ends(document))
            return
        ids = self._ids(document)
        start = self._draw.randrange(max(1, len(ids) - self._wish.length + 1))
        yield ids[start : start + self._wish.length]

    def _ids(self, text: str) -> list[int]:
        # verbose: a text longer than the model's context is no mistake here, it is cut.
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids


def _cut_at_line_ends(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _BLOCK_CHARACTERS
        if end < len(text):
            end = text.rfind("\n", start, end) + 1 or end
        yield text[start:end]
        start = end


def _drawn(cut: Iterator[list[int]], count: int, seed: int) -> list[list[int]]:
    """`count` of all windows, each with the same chance, in their order; only these are kept in memory.

    Source: Vitter, Random Sampling with a Reservoir (1985), algorithm R.
    """
    draw = random.Random(seed)
    kept: list[tuple[int, list[int]]] = []
    for place, window in enumerate(cut):
        if place < count:
            kept.append((place, window))
        elif (chosen := draw.randrange(place + 1)) < count:
            kept[chosen] = (place, window)
    return [window for _, window in sorted(kept)]


def _too_little(wish: Calibration, tokens: int, documents: int) -> PlanError:
    source = wish.dataset or ", ".join(PurePath(name).name for name in wish.text or ())
    each = f", {wish.length:,} of each at most" if wish.dataset else ""
    most = tokens // wish.length
    instead = (
        f", or set samples: {most}" if most else f", or set samples: 1 and length: {tokens}" if tokens else ""
    )
    return PlanError(
        f"{source} gives {tokens:,} tokens of this model in {documents:,} documents{each}; "
        f"{wish.samples:,} windows of {wish.length:,} need {wish.tokens:,}.",
        f"Give more data{instead}.",
        where=source,
    )
