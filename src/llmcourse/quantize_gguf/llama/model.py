"""A loaded model and a context to run it in: tokens in, logits out, no sampling and no templates.

Source: llama.h; tools/perplexity/perplexity.cpp and tools/imatrix/imatrix.cpp for how text becomes windows.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.llama.binding import failed, lib, log

_CHARACTERS = 8  # of a token, mostly fewer
_CUT_TOKENS = 256  # at the end of text that was cut, tokens may be others than in the whole

# GCC before 12.4 and 13.3 (PR 114098) builds ggml's tiles of AMX so that their first use ends the process.
_HAS_AMX = b"AMX_INT8 = 1" in lib.llama_print_system_info()

Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]


class Model:
    """Weights and vocabulary of a file, or of all shards where the first of them is given."""

    def __init__(self, path: Path, vocab_only: bool = False) -> None:
        self.path = path
        params = lib.llama_model_default_params()
        params.vocab_only = vocab_only
        params.use_extra_bufts = not _HAS_AMX
        log.clear()
        self.handle = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise failed(f"load {path.name}")
        self._vocab = lib.llama_model_get_vocab(self.handle)
        self.vocab_size: int = lib.llama_vocab_n_tokens(self._vocab)

    def tokenize(self, text: str, has_special: bool = False) -> Tokens:
        """Token ids with the special ones that the model wants at the ends.

        Others are read from the text only where it `has_special`, as one that a chat template wrote.
        """
        data = text.encode()
        tokens = np.empty(len(data) + 2, np.int32)
        pointer = tokens.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        count = lib.llama_tokenize(self._vocab, data, len(data), pointer, len(tokens), True, has_special)
        if count < 0:
            raise LibraryError(f"llama.cpp could not tokenize {len(data):,} bytes of text.", "Use less text.")
        return tokens[:count].copy()

    def first_tokens(self, text_file: Path, wanted: int, has_special: bool = False) -> Tokens:
        """Token ids of a text's beginning: at least `wanted` if it has so many; the rest is not read.

        Raises:
            PlanError: the file is no text.
        """
        characters = wanted * _CHARACTERS
        while True:
            text, is_all = _read_text(text_file, characters)
            tokens = self.tokenize(text, has_special)
            if is_all or len(tokens) > wanted + _CUT_TOKENS:
                return tokens
            characters *= 2

    def text(self, tokens: Sequence[int]) -> str:
        """The text of token ids, special ones left out."""
        return b"".join(map(self._piece, tokens)).decode("utf-8", "replace")

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(length, 0)]

    def ends(self, token: int) -> bool:
        """Whether generation ends with this token."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    def windows(
        self, text_file: Path, context: int, chunks: int, progress: Progress, has_special: bool = False
    ) -> Tokens:
        """The first windows of a text, of shape (windows, context).

        Each begins with the token that begins a text, if the model has one.

        Raises:
            PlanError: the file is no text, or has fewer tokens than two windows.
        """
        tokens = self.first_tokens(text_file, max(2, chunks) * context, has_special)
        if len(tokens) < 2 * context:
            raise PlanError(
                f"{text_file.name} has {len(tokens):,} tokens of this model, and {2 * context:,} are needed.",
                "Give a longer text.",
                where=str(text_file),
            )
        found = len(tokens) // context
        if found < chunks:
            progress.note(f"{text_file.name} has {found} windows of {context} tokens instead of {chunks}.")
        windows = tokens[: min(found, chunks) * context].reshape(-1, context)
        if lib.llama_vocab_get_add_bos(self._vocab):
            windows[:, 0] = lib.llama_vocab_bos(self._vocab)
        return windows

    def key(self, name: str) -> str:
        """A key of the metadata as text, empty where it is absent."""
        buffer = ctypes.create_string_buffer(1024)
        length = lib.llama_model_meta_val_str(self.handle, name.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if length >= 0 else ""

    def close(self) -> None:
        lib.llama_model_free(self.handle)


def _read_text(path: Path, characters: int) -> tuple[str, bool]:
    """The beginning of a text file, and whether that is all of it."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(characters)
            is_all = not file.read(1)
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not UTF-8 text ({error.reason}).", "Give a text file.") from None
    # llama.cpp's tools drop the newline that editors put at the end.
    return text.removesuffix("\n") if is_all else text, is_all


class Context:
    """Room for one window of tokens; it is emptied by `decode` when a window begins at position 0."""

    def __init__(self, model: Model, size: int, threads: int, on_tensor: Any = None) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx = size
        params.n_batch = params.n_ubatch = size
        params.n_threads = params.n_threads_batch = threads
        if on_tensor is not None:
            params.cb_eval = on_tensor
        log.clear()
        self._model = model
        self._handle = lib.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise failed(f"run {model.path.name}")
        self._batch = lib.llama_batch_init(size, 0, 1)

    def decode(self, tokens: Sequence[int] | Tokens, start: int, wanted: slice) -> Logits:
        """Run tokens from position `start` on; the logits of shape (those `wanted`, vocabulary).

        The array is the library's own memory and changes with the next call.

        Raises:
            LibraryError: the model cannot be run, or its logits are not finite.
        """
        count = len(tokens)
        outputs = np.zeros(count, np.int8)
        outputs[wanted] = 1
        if start == 0:
            lib.llama_memory_clear(lib.llama_get_memory(self._handle), True)
        self._fill(tokens, start, outputs)
        log.clear()
        if lib.llama_decode(self._handle, self._batch):
            raise failed(f"run {self._model.path.name}")
        shape = (int(outputs.sum()), self._model.vocab_size)
        logits: Logits = np.ctypeslib.as_array(lib.llama_get_logits(self._handle), shape)
        return logits

    def _fill(self, tokens: Sequence[int] | Tokens, start: int, outputs: NDArray[np.int8]) -> None:
        count = len(tokens)
        batch = self._batch
        batch.n_tokens = count
        np.ctypeslib.as_array(batch.token, (count,))[:] = tokens
        np.ctypeslib.as_array(batch.pos, (count,))[:] = np.arange(start, start + count)
        np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (count,))[:] = outputs
        for index in range(count):
            batch.seq_id[index][0] = 0

    def close(self) -> None:
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._handle)


@contextmanager
def opened(path: Path, size: int, threads: int, on_tensor: Any = None) -> Iterator[tuple[Model, Context]]:
    """A model and a context of `size` tokens, freed afterwards: a worker does several jobs."""
    model = Model(path)
    try:
        context = Context(model, size, threads, on_tensor)
        try:
            yield model, context
        finally:
            context.close()
    finally:
        model.close()
