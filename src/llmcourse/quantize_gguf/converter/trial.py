"""Child process: does llama.cpp, under a pre-tokenizer's name, give the ids that are expected?

Reads the JSON file in argv: `vocabulary` (a GGUF file without weights), `names`, `texts`, `ids`.  Writes a
line `[name, index]` for each name, up to the first under which all ids are as expected: of the first text
that gets others, or null.  llama.cpp aborts on some names; then the rest is missing.
"""

import ctypes
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import llama_cpp


def main(task: Path, results: IO[str]) -> None:
    """Try the names of a task in order."""
    job = json.loads(task.read_text("utf-8"))
    llama_cpp.llama_backend_init()
    for name in job["names"]:
        difference = _first_difference(Path(job["vocabulary"]), name, job["texts"], job["ids"])
        results.write(json.dumps([name, difference]) + "\n")
        results.flush()
        if difference is None:
            return


def _first_difference(
    vocabulary: Path, name: str, texts: Sequence[str], ids: Sequence[Sequence[int]]
) -> int | None:
    overrides: Any = (llama_cpp.llama_model_kv_override * 2)()  # ends with an empty one
    overrides[0].tag = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR
    overrides[0].key = b"tokenizer.ggml.pre"
    overrides[0].value.val_str = name.encode()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    params.kv_overrides = overrides
    model = llama_cpp.llama_model_load_from_file(str(vocabulary).encode(), params)
    if not model:
        return 0  # a name that this version does not know
    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        assert vocab is not None
        pairs = enumerate(zip(texts, ids, strict=True))
        return next((index for index, (text, own) in pairs if _tokenize(vocab, text) != own), None)
    finally:
        llama_cpp.llama_model_free(model)


def _tokenize(vocab: llama_cpp.llama_vocab_p, text: str) -> list[int]:
    data = text.encode()
    tokens = (ctypes.c_int32 * (len(data) + 1))()  # never more tokens than bytes
    count = llama_cpp.llama_tokenize(vocab, data, len(data), tokens, len(tokens), False, False)
    return tokens[: max(count, 0)]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.stdout)
