"""`llmcourse quantize-gptq` against a script that calls gptqmodel directly: time, memory, weights.

A bf16 Llama of random weights (hidden 2048, intermediate 5632 as TinyLlama, 3 layers, vocabulary 4096) is
made on the spot: large enough that time goes to quantizing, as with the models people have.  Both quantize to
4 bits in groups of 128 over equal windows, on the CPU, in a process of their own; ours also reads the text,
reloads the result, lets it generate, hashes it and writes the card.

Usage: python bench/gptq.py [--runs N] [--folder DIR]
"""

import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from measure import Measure, main, run

from llmcourse.testing.models import build_family, build_random_llama

_BIN = Path(sys.executable).parent
_SAMPLES, _LENGTH = 32, 512
_TIME_LIMIT = 1.05

_DIRECTLY = """
import os, sys
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
import numpy, torch
from gptqmodel import GPTQModel, QuantizeConfig
model, windows, output = sys.argv[1:]
os.chdir(os.path.dirname(output))  # gptqmodel writes logs into the current folder
config = QuantizeConfig(bits=4, group_size=128, desc_act=False, damp_percent=0.01, device="cpu")
loaded = GPTQModel.load(model, config, dtype=torch.bfloat16)
rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in numpy.load(windows).tolist()]
loaded.quantize(rows, batch_size=1)
loaded.save(output)
"""


def _compare(folder: Path, runs: int) -> None:
    family = build_family()
    model = folder / "gptq-model-2048"
    if not model.exists():
        build_random_llama(
            model, hidden=2048, layers=3, intermediate=5632, vocab=4096, heads=32, kv_heads=4,
            tokenizer_from=family.base,
        )  # fmt: skip
    text = folder / "calibration.txt"
    text.write_text("".join(family.eval_texts.values()), encoding="utf-8")
    windows = _windows(folder, model, text)
    _directly(folder, model, windows)  # compiles gptqmodel's packing, once per machine
    mine, its = [], []
    for _ in range(runs):
        mine.append(_ours(folder, model, text))
        its.append(_directly(folder, model, windows))
    ours = Measure(median(m.seconds for m in mine), int(median(m.peak_bytes for m in mine)))
    theirs = Measure(median(m.seconds for m in its), int(median(m.peak_bytes for m in its)))
    print(
        f"gptq, 4 bits: ours {ours.seconds:.1f} s, gptqmodel directly {theirs.seconds:.1f} s, "
        f"ratio {ours.seconds / theirs.seconds:.2f} (limit {_TIME_LIMIT:.2f})"
    )
    print(f"peak memory: ours {ours.peak_bytes / 1e9:.2f} GB, directly {theirs.peak_bytes / 1e9:.2f} GB")
    same = _weights(folder / "gptq-ours") == _weights(folder / "gptq-directly")
    print(f"weights: {'identical' if same else 'different'}")


def _windows(folder: Path, model: Path, text: Path) -> Path:
    """The windows that ours draws, for both."""
    import numpy as np
    from transformers import AutoTokenizer

    from llmcourse.calibration import windows
    from llmcourse.core.calibration import Calibration
    from llmcourse.core.progress import Progress

    wish = Calibration(text=[str(text)], samples=_SAMPLES, length=_LENGTH)
    rows = windows(wish, None, AutoTokenizer.from_pretrained(model), Progress(lambda _: None))
    path = folder / "windows.npy"
    np.save(path, np.array(rows, np.int32))
    return path


def _ours(folder: Path, model: Path, text: Path) -> Measure:
    out = folder / "gptq-ours"
    _clear(out)
    config = folder / "gptq.yaml"
    calibration = {"text": str(text), "samples": _SAMPLES, "length": _LENGTH}
    config.write_text(json.dumps({"model": str(model), "bits": 4, "calibration": calibration}))
    command = [str(_BIN / "llmcourse"), "quantize-gptq", str(config), "-o", str(out), "-q", "--no-push"]
    return run(command, {**os.environ, "LLMCOURSE_CACHE": str(folder / "cache")})


def _directly(folder: Path, model: Path, windows: Path) -> Measure:
    out = folder / "gptq-directly"
    _clear(out)
    script = folder / "directly.py"
    script.write_text(_DIRECTLY)
    return run([sys.executable, str(script), str(model), str(windows), str(out)])


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def _clear(folder: Path) -> None:
    """Gone, and no writing of the last run still under way."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()


if __name__ == "__main__":
    main(__doc__, _compare)
