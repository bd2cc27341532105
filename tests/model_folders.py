"""Model folders written by hand: tiny, whole, and readable by anything that reads safetensors."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


def llama_shapes(layers: int = 2, hidden: int = 4, vocab: int = 8) -> dict[str, tuple[int, ...]]:
    """The parts of a Llama that planners look at."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(layers):
        shapes[f"model.layers.{layer}.self_attn.q_proj.weight"] = (hidden, hidden)
        shapes[f"model.layers.{layer}.mlp.up_proj.weight"] = (2 * hidden, hidden)
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def whole_llama_shapes(layers: int = 2, hidden: int = 4, vocab: int = 8) -> dict[str, tuple[int, ...]]:
    """All parts of a Llama."""
    shapes = llama_shapes(layers, hidden, vocab)
    square = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    wide = {"mlp.gate_proj": (2 * hidden, hidden), "mlp.up_proj": (2 * hidden, hidden)}
    norms = {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,)}
    parts: dict[str, tuple[int, ...]] = {**square, **wide, "mlp.down_proj": (hidden, 2 * hidden), **norms}
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
    return shapes


def llama_config(layers: int = 2, hidden: int = 4, vocab: int = 8) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "vocab_size": vocab,
    }


def safetensors(shapes: Shapes) -> bytes:
    """A safetensors file of bfloat16 zeros."""
    header, end = dict[str, Any](), 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    return with_header(json.dumps(header).encode(), end)


def with_header(header: bytes, data_bytes: int = 0) -> bytes:
    """A safetensors file with this header, whatever it says."""
    return len(header).to_bytes(8, "little") + header + bytes(data_bytes)


def write_model(folder: Path, card: str = "", shapes: Shapes | None = None) -> Path:
    """A whole model of two layers in one file."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(llama_config()))
    (folder / "model.safetensors").write_bytes(safetensors(shapes or whole_llama_shapes()))
    (folder / "tokenizer.json").write_text("{}")
    if card:
        (folder / "README.md").write_text(card)
    return folder


def write_adapter(folder: Path, base: str = "org/base") -> Path:
    """A LoRA adapter."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (folder / "adapter_model.safetensors").write_bytes(safetensors({"lora_A.weight": (2, 4)}))
    return folder


def shard_index(folder: Path, weight_map: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
