"""Child process: does llama.cpp, under a pre-tokenizer's name, give the ids that are expected?

Reads one JSON object on stdin: `vocabulary` (a GGUF file without weights), `names`, `texts`, `ids`.
Writes a line `[name, matches]` for each name.  llama.cpp aborts on some; then the rest is missing.
"""

import ctypes
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import llama_cpp


def main(source: IO[str], results: IO[str]) -> None:
    """Try every name of the task on `source`, in order."""
    task = json.load(source)
    llama_cpp.llama_backend_init()
    for name in task["names"]:
        is_match = _matches(Path(task["vocabulary"]), name, task["texts"], task["ids"])
        results.write(json.dumps([name, is_match]) + "\n")
        results.flush()


def _matches(vocabulary: Path, name: str, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> bool:
    overrides = (llama_cpp.llama_model_kv_override * 2)()  # ends with an empty one
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
    overrides[0].key = b"tokenizer.ggml.pre"
    overrides[0].value.val_str = name.encode()  # type: ignore[union-attr]
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    params.kv_overrides = overrides
    model = llama_cpp.llama_model_load_from_file(str(vocabulary).encode(), params)
    if not model:
        return False  # a name that this version does not know
    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        assert vocab is not None
        return all(_tokenize(vocab, text) == expected for text, expected in zip(texts, ids, strict=True))
    finally:
        llama_cpp.llama_model_free(model)


def _tokenize(vocab: llama_cpp.llama_vocab_p, text: str) -> list[int]:
    data = text.encode()
    tokens = (ctypes.c_int32 * (len(data) + 1))()  # never more tokens than bytes
    count = llama_cpp.llama_tokenize(vocab, data, len(data), tokens, len(tokens), False, False)
    return tokens[: max(count, 0)]


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
