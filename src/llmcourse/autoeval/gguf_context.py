"""llama.cpp's context: the tokens that a GGUF model has seen, and the logits after them.

Its memory grows with the longest sequence that was asked for, up to what the model was made for: the logits
of those positions alone are kept that somebody wants.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from llmcourse.core.machine import usable_cpus

_BATCH = 512  # tokens computed at once
_SMALLEST = 1024  # tokens of a context, so that it is not made anew for each longer sequence


@contextmanager
def without_repacking() -> Iterator[None]:
    """Within the block no model is loaded into tiles of AMX, whose first use may end the process.

    GCC before 12.4 and 13.3 (PR 114098) builds them so, and `llama_cpp.Llama` has no argument for it.
    """
    if b"AMX_INT8 = 1" not in llama_cpp.llama_print_system_info():
        yield
        return
    module = llama_cpp.llama_cpp
    defaults = module.llama_model_default_params

    def params() -> Any:
        found = defaults()
        found.use_extra_bufts = False
        return found

    module.llama_model_default_params = params
    try:
        yield
    finally:
        module.llama_model_default_params = defaults


class Context:
    """One sequence of a loaded model; what two sequences after each other begin with is computed once."""

    def __init__(self, model: Any, vocabulary: int, longest: int) -> None:
        """`model` is a llama_model pointer; `longest` is the most tokens that a sequence may have."""
        self._model = model
        self._vocabulary = vocabulary
        self._longest = longest
        self._seen: list[int] = []
        self._size = 0
        self._handle: Any = None
        self._batch = llama_cpp.llama_batch_init(_BATCH, 0, 1)

    def logits(self, tokens: Sequence[int], last: int) -> NDArray[np.float32]:
        """After each of the last positions, of shape (last, vocabulary).

        Raises:
            MemoryError: there is no room for a sequence of that many tokens.
            RuntimeError: llama.cpp cannot compute it.
        """
        self._make_room(len(tokens))
        shared = self._kept(tokens, len(tokens) - last)
        found = np.empty((last, self._vocabulary), np.float32)
        first_wanted = len(tokens) - last
        for begin in range(shared, len(tokens), _BATCH):
            end = min(begin + _BATCH, len(tokens))
            wanted = max(begin, first_wanted)
            self._decode(tokens[begin:end], begin, wanted)
            if wanted < end:
                rows = np.ctypeslib.as_array(
                    llama_cpp.llama_get_logits(self._handle), (end - wanted, self._vocabulary)
                )
                found[wanted - first_wanted : end - first_wanted] = rows
        self._seen = list(tokens)
        return found

    def after(self, token: int) -> NDArray[np.float32]:
        """The logits after one more token, of shape (vocabulary,).

        Raises:
            MemoryError, RuntimeError: as `logits`.
        """
        at = len(self._seen)
        if at == self._size:
            found: NDArray[np.float32] = self.logits([*self._seen, token], 1)[0]
            return found
        self._decode([token], at, at)
        self._seen.append(token)
        row = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._handle), (self._vocabulary,))
        return row.astype(np.float32)

    def _make_room(self, length: int) -> None:
        if length <= self._size:
            return
        size = min(self._longest, max(_SMALLEST, 1 << (length - 1).bit_length()))
        size = max(size, length)
        self._free()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = size
        params.n_batch = params.n_ubatch = min(_BATCH, size)
        params.n_threads = params.n_threads_batch = usable_cpus()
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._handle = llama_cpp.llama_init_from_model(self._model, params)
        if not self._handle:
            raise MemoryError(f"llama.cpp has no room for a context of {size} tokens")
        self._size = size

    def _kept(self, tokens: Sequence[int], most: int) -> int:
        """How many tokens need not be computed again; the others are forgotten."""
        shared = 0
        for old, new in zip(self._seen, tokens[:most], strict=False):
            if old != new:
                break
            shared += 1
        memory = llama_cpp.llama_get_memory(self._handle)
        # A recurrent model cannot forget a part of what it has seen.
        if not shared or not llama_cpp.llama_memory_seq_rm(memory, 0, shared, -1):
            llama_cpp.llama_memory_clear(memory, True)
            shared = 0
        self._seen = list(tokens[:shared])
        return shared

    def _decode(self, tokens: Sequence[int], begin: int, wanted: int) -> None:
        """Compute tokens from the position `begin` on, with the logits of those from `wanted` on."""
        batch, count = self._batch, len(tokens)
        batch.n_tokens = count
        np.ctypeslib.as_array(batch.token, (count,))[:] = tokens
        np.ctypeslib.as_array(batch.pos, (count,))[:] = np.arange(begin, begin + count)
        np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (count,))[:] = np.arange(begin, begin + count) >= wanted
        for index in range(count):
            batch.seq_id[index][0] = 0
        code = llama_cpp.llama_decode(self._handle, batch)
        if code:
            self._seen = []
            raise RuntimeError(f"llama.cpp cannot compute {count} tokens at position {begin} (code {code})")

    def _free(self) -> None:
        if self._handle:
            llama_cpp.llama_free(self._handle)
        self._handle, self._size, self._seen = None, 0, []

    def close(self) -> None:
        """Give the memory back; the model itself is its owner's."""
        self._free()
        if self._batch is not None:
            llama_cpp.llama_batch_free(self._batch)
            self._batch = None


def is_end(model: Any, token: int) -> bool:
    """Whether a text ends with this token."""
    return bool(llama_cpp.llama_vocab_is_eog(llama_cpp.llama_model_get_vocab(model), token))


def piece(model: Any, token: int, special: bool) -> bytes:
    """The bytes that a token stands for; those of control tokens only with `special`."""
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    for size in (64, 4096):
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_token_to_piece(vocabulary, token, buffer, size, 0, special)
        if length >= 0:
            return buffer.raw[:length]
    return b""
