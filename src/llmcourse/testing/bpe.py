"""Byte-level BPE tokenizers, trained here: no converter knows the hash of what they say.

The text is that of the tiny models.  Only `pattern` differs, the expression that splits text before BPE.
"""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from llmcourse.testing.models import corpus

PATTERNS: Final = MappingProxyType(
    {
        # As OpenAI's GPT-2 and Meta's Llama 3 split; llama.cpp calls them gpt-2 and llama-bpe.
        "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        # As nobody splits: letters by twos, all else one by one.
        "strange": r"\p{L}{1,2}|\P{L}",
    }
)
_TRAINING_CHARS: Final = 300_000


def train_bpe(folder: Path, pattern: str, vocab_size: int = 1024) -> Path:
    """Write tokenizer.json and tokenizer_config.json of a new tokenizer and return `folder`.

    Args:
        pattern: a key of `PATTERNS`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    training = corpus.read().training
    tokenizer.train_from_iterator([text[:_TRAINING_CHARS] for text in training.values()], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder
