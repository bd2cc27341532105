"""The fast encoders give the bits of the converter's own, for every kind of float."""

import subprocess
import sys
from importlib.metadata import version

import pytest

from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.converter.source import fetch_converter

# The converter's gguf must not be imported into this process, which has other tests to run.
COMPARE = """
import sys
import warnings
from pathlib import Path

import numpy as np

from llmcourse.quantize_gguf.converter.encoders import use_fast_encoders
from llmcourse.quantize_gguf.converter.library import import_converter

warnings.simplefilter("ignore")  # numpy says when F16 overflows
gguf = import_converter(Path(sys.argv[1])).gguf
plain = gguf.quants.quantize
use_fast_encoders(gguf)
assert gguf.quants.quantize is not plain, "the fast encoders were refused"
bits = np.random.default_rng(0).integers(0, 2**32, (256, 4096), dtype=np.uint32)
bits[0, :4] = [0x80000000, 0x7F800000, 0xFF800000, 0x00000001]
values = bits.view(np.float32)
finite = np.nan_to_num(values, nan=0.5)
for name in ("BF16", "F16", "F32", "Q8_0"):
    qtype = gguf.GGMLQuantizationType[name]
    for array in (finite, values, finite[:, :32].reshape(2, 128, 32), finite[:64].T):
        if name == "Q8_0" and array is not finite:
            continue
        array = np.clip(array, -1e4, 1e4) if name == "Q8_0" else array
        lazy = gguf.LazyNumpyTensor
        fast = gguf.quants.quantize(lazy.from_eager(array), qtype)
        expected = plain(array, qtype)
        assert (fast.shape, fast.dtype) == (expected.shape, expected.dtype)
        assert lazy.to_eager(fast).tobytes() == expected.tobytes(), name
"""


@pytest.fixture(scope="module")
def converter() -> str:
    return str(fetch_converter(version("llama-cpp-python"), Progress(lambda event: None)))


def test_every_float_is_encoded_alike(converter: str) -> None:
    result = subprocess.run([sys.executable, "-c", COMPARE, converter], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_converter_that_encodes_in_another_way_keeps_its_own(converter: str) -> None:
    code = """
import sys
from pathlib import Path
from llmcourse.quantize_gguf.converter.encoders import use_fast_encoders
from llmcourse.quantize_gguf.converter.library import import_converter

gguf = import_converter(Path(sys.argv[1])).gguf
del gguf.LazyNumpyTensor
plain = gguf.quants.quantize
use_fast_encoders(gguf)
assert gguf.quants.quantize is plain
"""
    result = subprocess.run([sys.executable, "-c", code, converter], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "encodes by itself" in result.stderr
