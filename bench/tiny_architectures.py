"""Tiny random models of transformers' classes, and tokenizers for them, for `gguf_architectures.py`."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch
import transformers

from llmcourse.testing.bpe import train_bpe
from llmcourse.testing.models import corpus

_VOCABULARY = 1024
_MOST_PARAMETERS = 80_000_000
_LAYERS = 4
# Keys of transformers' configurations, by what they mean; whatever a configuration has of them becomes this.
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "out_hidden_size"), 64),
    **dict.fromkeys(("embedding_dim", "projection_dim", "hidden_dim", "projector_hidden_size"), 64),
    **dict.fromkeys(("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size"), 128),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "block_multiple_of", "block_ff_dim"), 128),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(
        ("moe_shared_expert_intermediate_size", "expert_hidden_size", "shared_intermediate_size"), 32
    ),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), _LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), _LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv"), 2),
    **dict.fromkeys(("head_dim", "d_kv", "v_head_dim", "qk_nope_head_dim", "attention_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim",), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "num_experts_per_token", "moe_k"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "text_vocab_size"), _VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), 1),
    "hidden_size_per_layer_input": 16,
    "sliding_window": 64,
    "image_size": 56,
    "patch_size": 14,
}
# Tokens that some classes of the converter look for by name.
_MARKS = (
    "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<image>", "<|image_pad|>", "<pad>", "<bos>", "<eos>", "<unk>",
    "[gMASK]",
    "<|endoftext|>", "<|startoftext|>", "<|user|>", "<|observation|>", "<|endofassistant|>", "<|eot|>",
)  # fmt: skip
# What a class wants beside that.
_EQUAL_HEADS = {"num_key_value_heads": 4}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "attn_layer_indices": [1]}
_SPECIAL: dict[str, dict[str, Any]] = {
    "BambaForCausalLM": _MAMBA,
    "DeepseekV2ForCausalLM": _EQUAL_HEADS,
    "DeepseekV32ForCausalLM": _EQUAL_HEADS,
    "DeepseekV3ForCausalLM": _EQUAL_HEADS,
    "Dots1ForCausalLM": {"n_routed_experts": 4, "n_shared_experts": 1},
    "Glm4MoeLiteForCausalLM": _EQUAL_HEADS,
    "GlmMoeDsaForCausalLM": _EQUAL_HEADS,
    "GraniteMoeHybridForCausalLM": {"mamba_n_heads": 8, "mamba_d_head": 16},
    "HunYuanDenseV1ForCausalLM": {"head_dim": 16},
    "HunYuanMoEV1ForCausalLM": {"head_dim": 16},
    "LagunaForCausalLM": {"num_attention_heads_per_layer": [4] * _LAYERS},
    "Lfm2MoeForCausalLM": {"layer_types": ["conv", "full_attention"] * 2},
    "Mamba2ForCausalLM": {"num_heads": 8},
    "NemotronForCausalLM": {"num_key_value_heads": 2},
    "YoutuForCausalLM": _EQUAL_HEADS,
}
# What published configurations have, and transformers 5 writes under another name or not at all.
_WRITTEN: dict[str, dict[str, Any]] = {
    "BambaForCausalLM": {"attn_layer_indices": [1]},
    "Cohere2ForCausalLM": {"rotary_pct": 1.0},
    "FalconH1ForCausalLM": {"head_dim": 16},
    "GPT2LMHeadModel": {"n_ctx": 256},
    "MiMoV2FlashForCausalLM": {"swa_head_dim": 16},
    "MiniMaxM2ForCausalLM": {"rotary_dim": 8},
}


def build(name: str, folder: Path) -> None:
    """Write a tiny random model of a class of transformers.

    Raises:
        ValueError: it would not be tiny.
    """
    model_class = getattr(transformers, name)
    config = _small_config(model_class.config_class, _SPECIAL.get(name, {}))
    with torch.device("meta"):
        parameters = sum(tensor.numel() for tensor in model_class(config).parameters())
    if parameters > _MOST_PARAMETERS:
        raise ValueError(f"{parameters:,} parameters")
    torch.manual_seed(0)
    config.architectures = [name]
    model = model_class(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = {"decoder_start_token_id": 1} | settings | {"architectures": [name]} | _WRITTEN.get(name, {})
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    if "vision_config" in settings:
        picture = {
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
            "size": {"height": 56, "width": 56, "shortest_edge": 56, "longest_edge": 56},
            "patch_size": 14,
            "min_pixels": 3136,
            "max_pixels": 12544,
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(picture), encoding="utf-8")


def _small_config(config_class: Any, special: dict[str, Any]) -> Any:
    """The class's defaults with few of everything."""
    try:
        defaults = config_class().to_dict()
    except Exception:
        defaults = config_class(**special).to_dict()
    return config_class.from_dict(_shrunk(defaults) | special)


def _shrunk(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found[key] = _shrunk(value)
        elif key in _SMALL and value is not None:
            found[key] = _SMALL[key]
        elif (
            isinstance(value, list)
            and len(value) > _LAYERS
            and key.endswith(("types", "type", "layers", "pattern"))
        ):
            found[key] = value[:_LAYERS]
        elif isinstance(value, int) and key.endswith(("token_id", "token_index")):
            found[key] = min(value, _VOCABULARY - 1)
        else:
            found[key] = value
    return found


def bpe(folder: Path) -> None:
    """Without `add_bos_token` in its settings quantize-gguf would write what it found out."""
    train_bpe(folder, "gpt-2", vocab_size=_VOCABULARY - len(_MARKS))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(list(_MARKS))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": False}), "utf-8")


def sentencepiece_bpe(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO("\n".join(part[:200_000] for part in corpus.read().training.values()))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(text), model_writer=model, vocab_size=_VOCABULARY, model_type="unigram",
        byte_fallback=True, pad_id=3, minloglevel=2,
    )  # fmt: skip
    for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
        (folder / name).write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}', encoding="utf-8")


def wordpiece(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?-'"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words += [f"word{index}" for index in range(_VOCABULARY - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
