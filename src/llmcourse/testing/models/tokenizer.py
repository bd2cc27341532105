"""A SentencePiece tokenizer of about 2,000 pieces, in the file forms of the original Llama.

`tokenizer.model` is what llama.cpp's converter and mergekit read; `tokenizer.json` is transformers' own form
of the same. This module does not touch models.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import sentencepiece
from transformers import LlamaTokenizer

VOCAB_SIZE: Final = 2048  # a multiple of 256, so that llama.cpp's K-quants can take the embeddings too
BOS_ID: Final = 1
EOS_ID: Final = 2


def train_tokenizer(lines: Iterable[str], folder: Path) -> None:
    """Train on `lines` and write all tokenizer files of a Llama folder.

    Newlines are no part of any piece, as in Llama: they become the byte token <0x0A>.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        character_coverage=0.9995,
        split_digits=True,
        # Indentation has to survive: no NFKC, no squeezing of spaces, and pieces for runs of them.
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        # Without the customary leading space: transformers 5.23 omits it before text that begins with a
        # space, sentencepiece does not, and their ids would differ.
        add_dummy_prefix=False,
        max_sentence_length=16_384,
        unk_id=0,
        bos_id=BOS_ID,
        eos_id=EOS_ID,
        pad_id=-1,
        num_threads=1,  # the result must not depend on the machine
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    tokenizer = LlamaTokenizer.from_pretrained(folder, add_prefix_space=False, add_bos_token=True)
    tokenizer.save_pretrained(folder)
