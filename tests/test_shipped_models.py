"""The configs that we ship name models that a newcomer can use: of the Hub, small, open, and they fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny_configs import CONFIGS


@dataclass(frozen=True)
class Published:
    """What config.json of the Hub's model says."""

    layers: int
    widths: tuple[int, ...]  # input columns of its matrices


SMOL = Published(30, (576, 1536))
QWEN = Published(24, (896, 4864))
# All of them are Apache-2.0 and not gated.
REAL = {
    "HuggingFaceTB/SmolLM2-135M": SMOL,
    "HuggingFaceTB/SmolLM2-135M-Instruct": SMOL,
    "Qwen/Qwen2.5-0.5B": QWEN,
    "Qwen/Qwen2.5-0.5B-Instruct": QWEN,
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": QWEN,
    "Qwen/Qwen3-0.6B": Published(28, (1024, 2048, 3072)),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": Published(22, (2048, 5632)),
}
ONLY_LOOKED_AT = {"mlabonne/NeuralBeagle14-7B"}  # by family-tree, which downloads no weights
YOURS = ("me/", "${")
SHIPPED = sorted(path for path in CONFIGS.rglob("*.yaml") if path.stem != "demo")
KEYS = ("model", "base_model", "source_model", "base")


def named(part: Any) -> Iterator[str]:
    """Every model that a config names, but stages of its own and steps of a pipeline."""
    if isinstance(part, list):
        for each in part:
            yield from named(each)
    elif isinstance(part, dict):
        for key, value in part.items():
            for model in value if isinstance(value, list) else [value]:
                if key in KEYS and isinstance(model, str) and "/" in model:
                    yield model
            yield from named(value)


def slices(part: Any) -> Iterator[tuple[str, int, int]]:
    if isinstance(part, list):
        for each in part:
            yield from slices(each)
    elif isinstance(part, dict):
        if "layer_range" in part:
            yield (part["model"], *part["layer_range"])
        for value in part.values():
            yield from slices(value)


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_model_is_one_of_the_hub_or_yours(path: Path) -> None:
    models = [model for model in named(documents(path)) if not model.startswith(YOURS)]
    known = REAL.keys() | (ONLY_LOOKED_AT if path.parent.name == "family-tree" else set())
    assert set(models) <= known
    if path.parent.name == "merge":
        assert len({REAL[model] for model in models}) == 1  # shapes of all parents are the same
        assert all(0 <= start < end <= REAL[model].layers for model, start, end in slices(documents(path)))


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "quantize-gptq").glob("*.yaml")), ids=lambda path: path.stem
)
def test_groups_divide_the_columns_of_the_model(path: Path) -> None:
    (config,) = documents(path)
    assert all(width % config.get("group_size", 128) == 0 for width in REAL[config["model"]].widths)


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "quantize-gguf").glob("*.yaml")), ids=lambda path: path.stem
)
def test_no_tensor_falls_back_to_another_type(path: Path) -> None:
    """K-quants are made of blocks of 256 columns; the demo's model is the exception, and its plan says so."""
    (config,) = documents(path)
    if config["model"] in REAL:
        assert all(width % 256 == 0 for width in REAL[config["model"]].widths)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_the_demos_models_are_named_in_its_own_configs_alone(path: Path) -> None:
    assert "llmcourse-demo/" not in path.read_text()
