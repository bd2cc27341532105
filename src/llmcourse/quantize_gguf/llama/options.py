"""The options of one quantization, in the form that `llama_model_quantize` takes.

Source: tools/quantize/quantize.cpp (main), for how names are folded, and which keys are written in what
order for an importance matrix.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmcourse.core.errors import PlanError
from llmcourse.quantize_gguf.llama.binding import lib, log
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, type_name, type_numbers
from llmcourse.quantize_gguf.llama.imatrix_file import Floats, Imatrix, read_imatrix
from llmcourse.quantize_gguf.versions import INSTALL

# What users of llama.cpp set by hand for tensors that the importance matrix lacks.
PIN_TYPE = "Q5_K"
# Types that models are trained and published in, so that another one could only be worse.
_PUBLISHED = ("MXFP4", "NVFP4")
_MAX_STRING = 127  # bytes of llama_model_kv_override.val_str without its end


@dataclass(frozen=True)
class Options:
    """What is asked for; `source` and `imatrix` are read already."""

    source: GgufFile
    type: str
    name: str
    threads: int
    imatrix: Imatrix | None
    imatrix_name: str
    tensor_types: Mapping[str, str]
    split: int

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Options":
        imatrix = settings["imatrix"]
        for pattern, name in settings["tensor_types"].items():
            _check_tensor_type(pattern, name)
        return cls(
            source=GgufFile(Path(settings["source"])),
            type=settings["type"],
            name=settings["name"],
            threads=settings["threads"],
            imatrix=read_imatrix(Path(imatrix)) if imatrix else None,
            imatrix_name=settings.get("imatrix_name") or imatrix or "",
            tensor_types=settings["tensor_types"],
            split=settings["split"],
        )

    @property
    def keys(self) -> dict[str, str | int]:
        """Keys that are added to the file's metadata, cut to the length that the library takes."""
        if not self.imatrix:
            return {}
        keys: dict[str, str | int] = {"quantize.imatrix.file": _cut(self.imatrix_name)}
        if self.imatrix.datasets:
            keys["quantize.imatrix.dataset"] = _cut(self.imatrix.datasets[0])
        keys["quantize.imatrix.entries_count"] = len(self.imatrix.entries)
        if self.imatrix.chunk_count > 0:
            keys["quantize.imatrix.chunks_count"] = self.imatrix.chunk_count
        return keys

    @cached_property
    def kept(self) -> dict[str, str]:
        """Tensors that are published quantized (MXFP4), with their types: they stay as they are."""
        kinds = ((tensor.name, type_name(tensor.type).upper()) for tensor in self.source.tensors)
        return {name: kind for name, kind in kinds if kind in _PUBLISHED}

    def quantize(self, path: Path | None, pinned: Sequence[str]) -> int:
        """Call the library; no path means a dry run. Returns its code, 0 for success."""
        patterns = [(_exactly(name), PIN_TYPE) for name in pinned]
        patterns += [(_exactly(name), kind) for name, kind in self.kept.items()]
        patterns += [(pattern.lower(), name) for pattern, name in self.tensor_types.items()]
        params = lib.llama_model_quantize_default_params()
        params.ftype = file_type_number(self.type)
        params.nthread = self.threads
        params.dry_run = path is None
        # The arrays are named so that they live until the call is over.
        overrides, keys = _overrides(patterns), _kv_overrides(self.keys)
        means = {name: entry.means for name, entry in (self.imatrix.entries if self.imatrix else {}).items()}
        weights = _weights(means)
        if patterns:
            params.tt_overrides = overrides
        if self.imatrix:
            params.kv_overrides = keys
            params.imatrix = weights
        log.clear()
        out = str(path or "").encode()
        return int(lib.llama_model_quantize(str(self.source.path).encode(), out, ctypes.byref(params)))


def _exactly(name: str) -> str:
    return f"^{name.replace('.', r'[.]')}$"


def file_type_number(type_name: str) -> int:
    """The number of a type, as llama.h's enum llama_ftype has it.

    Raises:
        PlanError: the installed version does not know the type.
    """
    name = "ALL_F32" if type_name == "F32" else f"MOSTLY_{type_name}"
    number: int | None = getattr(lib, f"LLAMA_FTYPE_{name}", None)
    if number is None:
        raise PlanError(
            f"llama.cpp {lib.llama_version().decode()} has no type {type_name}.",
            f"Leave it out. Or {INSTALL[0].lower()}{INSTALL[1:]}.",
        )
    return number


def _check_tensor_type(pattern: str, name: str) -> None:
    if name.upper() not in type_numbers():
        raise PlanError(
            f"tensor_types: {pattern}: {name!r} is no type of a tensor.",
            f"Use one of {', '.join(type_numbers())}.",
        )


def _cut(text: str) -> str:
    return text.encode()[:_MAX_STRING].decode("utf-8", "ignore")


def _overrides(patterns: Sequence[tuple[str, str]]) -> Any:
    """An array that ends with a NULL pattern, as the library wants it."""
    array = (lib.llama_model_tensor_override * (len(patterns) + 1))()
    for item, (pattern, name) in zip(array, patterns, strict=False):
        item.pattern, item.type = pattern.encode(), type_numbers()[name.upper()]
    return array


def _kv_overrides(keys: Mapping[str, str | int]) -> Any:
    """An array that ends with an empty key, as the library wants it."""
    array = (lib.llama_model_kv_override * (len(keys) + 1))()
    for item, (key, value) in zip(array, keys.items(), strict=False):
        item.key = key.encode()
        if isinstance(value, str):
            item.tag = lib.LLAMA_KV_OVERRIDE_TYPE_STR
            item.value.val_str = value.encode()
        else:
            item.tag = lib.LLAMA_KV_OVERRIDE_TYPE_INT
            item.value.val_i64 = value
    return array


def _weights(means: Mapping[str, Floats]) -> Any:
    """An array that ends with a NULL name, as the library wants it; it points into `means`."""
    array = (lib.llama_model_imatrix_data * (len(means) + 1))()
    for item, (name, values) in zip(array, means.items(), strict=False):
        item.name = name.encode()
        item.data = ctypes.cast(values.ctypes.data, ctypes.POINTER(ctypes.c_float))
        item.size = values.size
    return array
