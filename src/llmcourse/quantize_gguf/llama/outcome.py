"""What a quantization will make, to the byte, from a dry run of `llama_model_quantize`.

The dry run decides each tensor's type and says it in the log alone; from the types and the shapes follow
the header and the size, by the library's own functions.

Source: src/llama-quant.cpp (llama_model_quantize_impl, tensor_requires_imatrix).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.quantize_gguf.llama.binding import failed, lib, log
from llmcourse.quantize_gguf.llama.gguf_file import Header, TensorInfo, padded, type_name, type_numbers
from llmcourse.quantize_gguf.llama.options import Options, file_type_number
from llmcourse.quantize_gguf.llama.split import group_tensors, shard_header, shard_name
from llmcourse.quantize_gguf.versions import INSTALL

_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")
_NOT_IN_MATRIX = (*_EMBEDDINGS, "output.weight")  # llama-imatrix leaves them out; they need no weights
_NEED_WEIGHTS = {"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"}
_TENSOR = re.compile(
    r"^\[ *\d+/ *\d+\] +(\S+) .*, type = *(\S+), size = [^(\n]*(?:\((\w+)\))?$", re.MULTILINE
)
# What llama.cpp says of a tensor whose rows are no multiple of a type's block, and of all of them.
_FALLBACK = re.compile(
    r"^warning: (\S+) .*\(required for type +(\S+)\).*-> falling back to +(\S+)$", re.MULTILINE
)
_FALLBACKS = re.compile(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback quantization")
_QUANTIZATION_VERSION = 2  # ggml.h, GGML_QNT_VERSION


@dataclass(frozen=True)
class Outcome:
    """`types` maps each tensor, in the file's order, to the name of its type; `groups` are the shards.

    `fallbacks` maps tensors whose rows do not fit the type that was meant to both types.
    """

    types: Mapping[str, str]
    fallbacks: Mapping[str, tuple[str, str]]
    groups: Sequence[Sequence[str]]
    file_bytes: Sequence[int]
    whole_bytes: int  # of the file before it is split
    bits_per_weight: float
    requires_imatrix: tuple[str, ...]
    pinned: tuple[str, ...]
    unweighted: tuple[str, ...]

    def as_json(self, options: Options) -> dict[str, Any]:
        names = [shard_name(options.name, index, len(self.groups)) for index in range(len(self.groups))]
        files = [{"path": n, "size": size} for n, size in zip(names, self.file_bytes, strict=True)]
        return {
            "size_bytes": sum(self.file_bytes),
            "bits_per_weight": self.bits_per_weight,
            "files": files,
            "tensors": len(self.types),
            "fallbacks": _counted(f"{meant} → {made}" for meant, made in self.fallbacks.values()),
            "kept": _counted(options.kept.values()),
            "requires_imatrix": list(self.requires_imatrix),
            "pinned": list(self.pinned),
            "unweighted": list(self.unweighted),
        }


def predict(options: Options) -> Outcome:
    """Run the dry run, again with pins as long as a tensor needs weights that the matrix lacks.

    Raises:
        PlanError: the importance matrix is of another model.
        LibraryError: llama.cpp refused, or says its types in another way than the tested version.
    """
    tensors = {tensor.name: tensor for tensor in options.source.tensors}
    pinned: tuple[str, ...] = ()
    types, fallbacks = _dry_run(options, pinned)
    if options.imatrix:
        # A pin can move what the mixture decides for others, so it may need another look.
        while lacking := _lacking(options, _needing_weights(options, types)):
            pinned += tuple(lacking)
            types, fallbacks = _dry_run(options, pinned)
        _check_shapes(options, types, tensors)
    quantized = [name for name, kind in types.items() if kind != type_name(tensors[name].type).upper()]
    sizes = [(name, tensors[name].nbytes_as(type_numbers()[kind])) for name, kind in types.items()]
    total = sum(nbytes for _, nbytes in sizes)
    groups = group_tensors(sizes, options.split)
    unweighted = [name for name in _lacking(options, quantized) if name not in (*_NOT_IN_MATRIX, *pinned)]
    return Outcome(
        types=types,
        fallbacks=fallbacks,
        groups=groups,
        file_bytes=_file_sizes(options, types, groups),
        whole_bytes=_file_sizes(options, types, [list(types)])[0],
        bits_per_weight=total * 8 / sum(tensor.elements for tensor in tensors.values()),
        requires_imatrix=tuple(_needing_weights(options, types)),
        pinned=pinned,
        unweighted=tuple(unweighted),
    )


def _counted(kinds: Iterable[str]) -> dict[str, int]:
    return dict(Counter(kinds).most_common())


def _dry_run(options: Options, pinned: Sequence[str]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    pieces: list[str] = []
    with log.heard_by(pieces.append):
        code = options.quantize(None, pinned)
    if code:
        raise failed(f"quantize to {options.type}")
    text = "".join(pieces)
    types = {name: (after or before).upper() for name, before, after in _TENSOR.findall(text)}
    warns = "will require an imatrix" in text
    found = _FALLBACK.findall(text)
    fallbacks = {name: (meant.upper(), made.upper()) for name, meant, made in found}
    counted = int(match[1]) if (match := _FALLBACKS.search(text)) else 0
    is_understood = len(types) == len(options.source.tensors) and len(fallbacks) == counted
    if not options.imatrix:
        is_understood &= warns == bool(_needing_weights(options, types))
    if not is_understood:
        raise LibraryError(
            f"llama.cpp {lib.llama_version().decode()} describes a quantization in a way that is not known.",
            f"{INSTALL}.",
        )
    return types, fallbacks


def _needing_weights(options: Options, types: Mapping[str, str]) -> list[str]:
    needing = _NEED_WEIGHTS | ({"Q2_K"} if options.type == "Q2_K_S" else set())
    return [name for name, kind in types.items() if kind in needing and name not in _NOT_IN_MATRIX]


def _lacking(options: Options, names: Sequence[str]) -> list[str]:
    return [name for name in names if options.imatrix and name not in options.imatrix.entries]


def _check_shapes(options: Options, types: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> None:
    assert options.imatrix
    for name, kind in types.items():
        tensor, entry = tensors[name], options.imatrix.entries.get(name)
        expected = tensor.ne[0] * tensor.ne[2]
        is_quantized = kind != type_name(tensor.type).upper()
        if entry and is_quantized and name not in _EMBEDDINGS and entry.sums.size != expected:
            raise PlanError(
                f"The importance matrix has {entry.sums.size:,} values for {name}, which has {expected:,} "
                "input columns: it is of another model.",
                "Give the importance matrix of this model, or let it be computed from a text.",
            )


def _file_sizes(options: Options, types: Mapping[str, str], groups: Sequence[Sequence[str]]) -> list[int]:
    tensors = {tensor.name: tensor for tensor in options.source.tensors}
    keys = _keys(options)
    sizes = []
    for index, group in enumerate(groups):
        header = shard_header(groups, index, keys)
        for name in group:
            header.add(options.source, name, type_numbers()[types[name]])
        data = sum(padded(tensors[name].nbytes_as(type_numbers()[types[name]])) for name in group)
        sizes.append(header.nbytes + data)
    return sizes


def _keys(options: Options) -> Header:
    header = Header()
    header.copy_keys(options.source)
    header.set_u32("general.quantization_version", _QUANTIZATION_VERSION)
    header.set_u32("general.file_type", file_type_number(options.type))
    header.remove("split.no", "split.count", "split.tensors.count")
    for key, value in options.keys.items():
        if isinstance(value, str):
            header.set_string(key, value)
        else:
            header.set_u32(key, value)
    return header
