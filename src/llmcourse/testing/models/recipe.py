"""What the family is trained on, how long, and how its folders are written. Heavy: imports torch."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sentencepiece
import torch
from huggingface_hub import ModelCard, ModelCardData
from transformers import LlamaForCausalLM

from llmcourse.testing.models.corpus import Corpus
from llmcourse.testing.models.family import BASE_ID, CODE_ID, PROSE_ID, ProgressCallback
from llmcourse.testing.models.tokenizer import train_tokenizer
from llmcourse.testing.models.train import Recipe, new_model, save, train

_BASE: Final = Recipe(steps=160, speed=1.0, seed=0)
# Slow enough that the two stay in one basin and their average beats both worse parents; see the tests.
_FINE_TUNE: Final = Recipe(steps=40, speed=0.3, seed=1)
_TOKENIZER_CHARS: Final = 500_000  # of each kind


def train_family(folder: Path, texts: Corpus, report: ProgressCallback) -> None:
    """Write `base`, `code` and `prose` under `folder`."""
    report("training the tokenizer", 0.02)
    lines = [line for text in texts.training.values() for line in text[:_TOKENIZER_CHARS].splitlines()]
    tokenizer = folder / "tokenizer"
    train_tokenizer(lines, tokenizer)
    encode = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model")).encode
    tokens = {kind: torch.tensor(encode(text)) for kind, text in texts.training.items()}

    base = new_model(_BASE.seed)
    train(base, torch.cat(list(tokens.values())), _BASE, _part(report, "training the base model", 0.05, 0.65))
    _write(base, folder / "base", tokenizer, _card(BASE_ID, "code and prose"))
    code = copy.deepcopy(base)
    train(code, tokens["code"], _FINE_TUNE, _part(report, "fine-tuning on code", 0.65, 0.82))
    _write(code, folder / "code", tokenizer, _card(CODE_ID, "code", BASE_ID))
    prose = copy.deepcopy(base)
    train(prose, tokens["prose"], _FINE_TUNE, _part(report, "fine-tuning on prose", 0.82, 0.99))
    _write(prose, folder / "prose", tokenizer, _card(PROSE_ID, "prose", BASE_ID))
    shutil.rmtree(tokenizer)
    report("done", 1.0)


def _part(report: ProgressCallback, what: str, start: float, end: float) -> Callable[[float], None]:
    return lambda fraction: report(what, start + (end - start) * fraction)


def _write(model: LlamaForCausalLM, folder: Path, tokenizer: Path, card: ModelCard) -> None:
    shutil.copytree(tokenizer, folder)
    save(model, folder)
    card.save(folder / "README.md")


def _card(model_id: str, trained_on: str, base_id: str | None = None) -> ModelCard:
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=base_id,
        base_model_relation="finetune" if base_id else None,
    )
    title = model_id.partition("/")[2]
    text = (
        f"A Llama of 3.4 M parameters, trained for a minute on {trained_on} from Python's standard library."
    )
    return ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{text} For tests and demonstrations only.\n"
    )
