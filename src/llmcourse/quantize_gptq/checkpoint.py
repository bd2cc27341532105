"""What a quantized checkpoint must hold beside its weights, and nothing that changes from run to run."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

from llmcourse.core.older_names import with_older_names
from llmcourse.core.workspace import write_json
from llmcourse.quantize_gptq.config import Config
from llmcourse.quantize_gptq.plot import save_plot
from llmcourse.quantize_gptq.quantizing import LayerLoss, Quantized

PLOT_NAME, LOSSES_NAME = "layers.png", "quant_log.csv"
# Taken as they are: libraries that save a tokenizer add padding tokens and drop what they do not know.
_TOKENIZER = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.tiktoken",
    "spiece.model", "chat_template*", "generation_config.json", "preprocessor_config.json",
)  # fmt: skip
_OF_THIS_RUN = ("offload_to_disk_path",)  # a folder of this machine


def finish(folder: Path, model: Path, made: Quantized, config: Config) -> None:
    """Complete what the library saved in `folder`: the tokenizer of `model`, and what each layer lost."""
    for pattern in _TOKENIZER:
        for path in folder.glob(pattern):
            path.unlink()
        for path in filter(Path.is_file, model.glob(pattern)):
            shutil.copyfile(path, folder / path.name)
    if config.trust_remote_code:
        for path in model.glob("*.py"):
            shutil.copyfile(path, folder / path.name)
    _forget_this_run(folder / "config.json", "quantization_config")
    _forget_this_run(folder / "quantize_config.json", None)
    _complete_config(folder / "config.json", model / "config.json")
    (folder / LOSSES_NAME).unlink(missing_ok=True)
    if made.layers:
        _write_losses(folder / LOSSES_NAME, made.layers)
    if any(layer.loss > 0 for layer in made.layers):
        save_plot(made.layers, folder / PLOT_NAME)


def _forget_this_run(path: Path, key: str | None) -> None:
    """Take folders of this machine out of gptqmodel's settings, so that the same job gives the same bytes."""
    if not path.exists():
        return
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    meta = (data[key] if key else data).get("meta", {})
    for name in _OF_THIS_RUN:
        meta.pop(name, None)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _complete_config(path: Path, original: Path) -> None:
    """Say what older readers look for, and the model's own pad token.

    gptqmodel gives a model without one the tokenizer's, which may lie outside the vocabulary.
    """
    data = with_older_names(json.loads(path.read_text(encoding="utf-8")))
    meant = json.loads(original.read_text(encoding="utf-8")).get("pad_token_id")
    if data.get("pad_token_id") != meant:
        data["pad_token_id"] = meant
    write_json(path, data)


def _write_losses(path: Path, losses: list[LayerLoss]) -> None:
    """gptqmodel's own table without the seconds, which change from run to run."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["layer", "module", "loss", "damp", "fallback"])
        table.writerows([loss.layer, loss.module, loss.loss, loss.damp, loss.fallback] for loss in losses)


def rounded_modules(folder: Path) -> list[str]:
    """Modules that were only rounded, by the table in a checkpoint's folder."""
    path = folder / LOSSES_NAME
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [f"{row['layer']}.{row['module']}" for row in csv.DictReader(file) if row["fallback"]]
