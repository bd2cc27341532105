"""Runs exllamav2: its converter, or a model over windows of a text.  Has an environment of its own.

    exl2_worker.py convert ARGUMENTS…     as `python -m exllamav2.conversion.convert_exl2 ARGUMENTS…`
    exl2_worker.py logits JOB.json        logits of a model's windows, as `quality.py` asks for them

exllamav2 compiles its CUDA extension when it is first imported.
"""
# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#   "exllamav2==0.3.2",
#   "torch==2.14.0",
#   "tokenizers==0.22.1",
#   "setuptools==80.9.0",
#   "numpy>=2,<3",
#   "pandas>=2.2,<3",
# ]
# ///

import json
import os
import runpy
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def find_build_tools() -> None:
    """ninja lies beside our interpreter, CUDA's headers and libraries beside torch: say so."""
    torch = find_spec("torch")
    assert torch and torch.origin, "it is in the header"
    cuda = Path(torch.origin).parents[1] / "nvidia" / "cu13"
    places = {
        "PATH": Path(sys.executable).parent,
        "CPATH": cuda / "include",
        "LIBRARY_PATH": cuda / "lib",
    }
    for name, place in places.items():
        if place.is_dir():
            os.environ[name] = os.pathsep.join([str(place), *filter(None, [os.environ.get(name)])])


def convert(arguments: list[str]) -> None:
    # Exits by itself, with 0 also after some errors: whoever started us looks at the files.
    sys.argv[1:] = arguments
    runpy.run_module("exllamav2.conversion.convert_exl2", run_name="__main__", alter_sys=True)


def logits(job: dict[str, Any]) -> None:
    """Write `tokens.npy`, then for each window that is wanted `N.npy`: float32, (scored tokens, vocabulary).

    One window is ahead of the reader at most, who deletes what was read.
    """
    import numpy as np
    import torch
    from exllamav2 import ExLlamaV2, ExLlamaV2Config, ExLlamaV2Tokenizer

    folder, context = Path(job["folder"]), int(job["context"])
    config = ExLlamaV2Config(job["model"])
    config.arch_compat_overrides()
    tokenizer = ExLlamaV2Tokenizer(config)
    ids = tokenizer.encode(Path(job["text"]).read_text(encoding="utf-8-sig"))[0]
    count = min(int(job["chunks"]), len(ids) // context)
    windows = ids[: count * context].view(count, context)
    if config.arch.lm.requires_bos:
        windows[:, 0] = tokenizer.bos_token_id
    _save(np, folder / "tokens.npy", windows.numpy().astype(np.int32))
    model = ExLlamaV2(config)
    model.load()
    with torch.inference_mode():
        for number, window in enumerate(windows):
            found = model.forward(window[None])[0, context // 2 : -1, : config.vocab_size]
            while any(folder.glob("window-*.npy")):
                time.sleep(0.01)
            _save(np, folder / f"window-{number}.npy", found.float().cpu().numpy())


def _save(np: Any, path: Path, array: Any) -> None:
    """The file gets its name when it is whole."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, array)
    partial.rename(path)


if __name__ == "__main__":
    find_build_tools()
    if sys.argv[1] == "convert":
        convert(sys.argv[2:])
    else:
        logits(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
