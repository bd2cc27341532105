"""The converter's BF16 and F16 encoders, several times faster and equal to the bit.

It rounds in numpy, in one thread, through 64-bit integers.  torch rounds to nearest even as well, in
vector instructions and on every core; it differs in the payload of NaNs only, which go the old way.
"""

import logging
from itertools import product
from typing import Any

import numpy as np
import torch

logger = logging.getLogger(__name__)

_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16}
_SAMPLE = np.array([[0.0, 1.0, -3.14159, 65504.0, 1e-7, 5e-39, -1e30, 0.02]], dtype=np.float32)


def use_fast_encoders(gguf: Any) -> None:
    """Put faster encoders in place of the converter's, unless this version of it does not fit them.

    What is relied on: `gguf.quants.quantize(data, qtype)` is looked up when called, and a lazy tensor is
    `LazyNumpyTensor(meta=…, args=…, func=…)` (llama.cpp of llama-cpp-python 0.3.36).
    """
    plain = gguf.quants.quantize

    def quantize(data: Any, qtype: Any) -> Any:
        encoded = plain(data, qtype)  # of a lazy tensor this is the shape, and the errors about it
        if qtype.name not in _DTYPES or data.dtype != np.float32 or not isinstance(data, lazy):
            return encoded
        meta = lazy.meta_with_dtype_and_shape(encoded.dtype, encoded.shape)
        return lazy(meta=meta, args=(data,), func=lambda array: _encode(array, qtype, plain))

    try:
        lazy = gguf.LazyNumpyTensor
        samples = [lazy.from_eager(array) for array in (_SAMPLE, _SAMPLE.reshape(4, 2).T)]
        for name, sample in product(_DTYPES, samples):
            qtype = gguf.GGMLQuantizationType[name]
            results = [lazy.to_eager(encode(sample, qtype)) for encode in (plain, quantize)]
            if results[0].tobytes() != results[1].tobytes():
                raise TypeError(f"{name} is encoded otherwise")
    except (AttributeError, TypeError, KeyError) as error:
        logger.warning("this converter encodes by itself, which is slower: %s", error)
    else:
        gguf.quants.quantize = quantize


def _encode(array: np.ndarray[Any, Any], qtype: Any, plain: Any) -> Any:
    values = torch.from_numpy(array)
    if torch.isnan(values.sum()):  # or infinities that cancel out: then it is slow without need
        return plain(array, qtype)
    encoded = values.to(_DTYPES[qtype.name])
    # A transposed tensor stays one, and only a contiguous one can be seen as bytes.
    return encoded.numpy() if qtype.name == "F16" else encoded.contiguous().view(torch.uint8).numpy()
