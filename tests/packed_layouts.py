"""Layouts of quantized models as their libraries save them, in a Llama on the Hub."""

from dataclasses import replace
from typing import Any

from llmcourse.core.model import ModelFacts, Tensor
from tests.planner_facts import llama_on_the_hub

LAYER = "model.layers.0.mlp.up_proj"


def packed(label: str, name: str = "org/tiny", **config: Any) -> ModelFacts:
    """A Llama with this layout in place of one matrix."""
    tensors = LAYOUTS[label]
    plain = llama_on_the_hub(name)
    kept = {name: tensor for name, tensor in plain.tensors.items() if not name.startswith(LAYER)}
    added = {
        f"{LAYER}{name}": Tensor(shape, dtype, 8, "model.safetensors")
        for name, (dtype, shape) in tensors.items()
    }
    return replace(plain, tensors=kept | added, config={**plain.config, **config})


# As their libraries save them: what follows the module's name, dtype, shape.
LAYOUTS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "bitsandbytes 4-bit": {".weight": ("U8", (16, 1)), ".weight.absmax": ("F32", (1,)),
                           ".weight.quant_state.bitsandbytes__nf4": ("U8", (80,))},
    "LLM.int8 (bitsandbytes)": {".weight": ("I8", (8, 4)), ".SCB": ("F32", (8,))},
    "block FP8": {".weight": ("F8_E4M3", (8, 4)), ".weight_scale_inv": ("BF16", (1, 1))},
    "GPTQ": {".qweight": ("I32", (1, 8)), ".qzeros": ("I32", (1, 1)), ".scales": ("F16", (1, 8)),
             ".g_idx": ("I32", (4,))},
    "AWQ": {".qweight": ("I32", (4, 1)), ".qzeros": ("I32", (1, 1)), ".scales": ("F16", (1, 8))},
    "compressed-tensors": {".weight_packed": ("I32", (8, 1)), ".weight_scale": ("BF16", (8, 1)),
                           ".weight_shape": ("I64", (2,))},
    "NVFP4": {".weight": ("U8", (8, 2)), ".weight_scale": ("F8_E4M3", (8, 1)),
              ".weight_scale_2": ("F32", ())},
    "MXFP4": {"_blocks": ("U8", (8, 1, 16)), "_scales": ("U8", (8, 1))},
    "HQQ": {".W_q": ("U8", (4, 4)), ".scale": ("F16", (8, 1)), ".zero": ("F16", (8, 1))},
    "torchao": {"._weight_qdata": ("I8", (8, 4)), "._weight_scale": ("F32", (8, 1))},
    "quanto": {".weight._data": ("I8", (8, 4)), ".weight._scale": ("F16", (8, 1))},
    "AQLM": {".codes": ("I16", (8, 1, 1)), ".codebooks": ("F16", (1, 256, 1, 8)), ".scales": ("F16", (8, 1))},
    "EXL2": {".q_weight": ("I32", (1, 8)), ".q_scale": ("I32", (1, 1))},
    "MLX": {".weight": ("U32", (8, 1)), ".scales": ("F16", (8, 1)), ".biases": ("F16", (8, 1))},
    "packed U8": {".weight": ("U8", (2, 4)), ".weight_scale": ("BF16", (1,))},
    "FP8": {".weight": ("F8_E5M2", (8, 4))},
}  # fmt: skip
