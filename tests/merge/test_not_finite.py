"""NaN and infinities in a merge: named with the models they came from, on the terminal and in the card."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmcourse.core.artifact import OutputFile
from llmcourse.merge.finiteness import not_finite
from llmcourse.merge.not_finite import KEY, sentences
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli

UP = "model.layers.0.mlp.up_proj.weight"
INF, NAN = float("inf"), float("nan")


def changed(model: Path, folder: Path, value: float) -> Path:
    """A copy whose matrix UP holds `value` once."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[UP][1, 2] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def merge(llmcourse: Cli, first: Path, second: Path, weight: float = 0.5) -> str:
    """What is said on the terminal."""
    models = [{"model": str(name), "parameters": {"weight": weight}} for name in (first, second)]
    recipe = {"merge_method": "linear", "parameters": {"normalize": False}, "dtype": "float16"}
    config = llmcourse.folder / "c.yaml"
    config.write_text(json.dumps(recipe | {"models": models}), encoding="utf-8")
    result = llmcourse("merge", config, "-o", "out")
    assert result.exit_code == 0, result.stderr
    return result.stderr


def test_a_nan_of_a_model_is_named_on_the_terminal_and_in_the_card(llmcourse: Cli, family: Family) -> None:
    said = merge(llmcourse, changed(family.code, llmcourse.folder / "damaged", NAN), family.prose)
    sentence = f"{UP} of the result holds NaN, which came from damaged."
    assert f"! {sentence}\n" in said
    assert sentence in (llmcourse.folder / "out" / "README.md").read_text()
    manifest = json.loads((llmcourse.folder / "out" / "llmcourse.json").read_text())
    [about] = [file["about"] for file in manifest["files"] if "about" in file]
    assert about == {"not_finite": {UP: ["NaN", ["damaged"]]}}
    written = load_file(llmcourse.folder / "out" / "model.safetensors")[UP]
    assert written.isnan().nonzero().tolist() == [[1, 2]]


def test_infinities_that_no_model_holds_are_told_as_such(llmcourse: Cli, family: Family) -> None:
    said = merge(llmcourse, family.code, family.prose, weight=1e7)
    assert "of the result hold infinities, which none of the models holds there." in said


def test_a_merge_of_finite_numbers_says_nothing_of_it(llmcourse: Cli, family: Family) -> None:
    said = merge(llmcourse, family.code, family.prose)
    assert "of the result hold" not in said
    assert "finite" not in (llmcourse.folder / "out" / "README.md").read_text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2])
@pytest.mark.parametrize(
    ("values", "what"),
    [([1.0, NAN, INF], "NaN"), ([0.0, -INF], "infinities"), ([INF, 2.0], "infinities"), ([1.0, -2.0], "")],
)
def test_what_is_not_finite_is_known_of_every_dtype(
    dtype: torch.dtype, values: list[float], what: str
) -> None:
    assert not_finite(UP, torch.tensor(values).to(dtype)) == what


def test_the_largest_numbers_are_finite_and_so_are_none_and_whole_ones() -> None:
    ends = torch.finfo(torch.bfloat16)
    assert not not_finite(UP, torch.tensor([ends.min, ends.max], dtype=torch.bfloat16))
    assert not not_finite(UP, torch.empty(0))
    assert not not_finite(UP, torch.arange(3))


def test_a_mask_may_be_infinite_but_not_nan() -> None:
    name = "gpt_neox.layers.0.attention.masked_bias"
    assert not not_finite(name, torch.tensor(-INF))
    assert not_finite(name, torch.tensor(NAN)) == "NaN"


def test_tensors_of_one_origin_are_one_sentence() -> None:
    def file(name: str, found: dict[str, tuple[str, list[str] | None]]) -> OutputFile:
        return OutputFile(name, 1, "", about={KEY: found})

    files = [
        file("1", {"b": ("NaN", ["x", "y"]), "a": ("NaN", ["x", "y"]), "c": ("infinities", [])}),
        file("2", {"d": ("NaN", ["x", "y"]), "e": ("NaN", None)}),
        OutputFile("3", 1, ""),
    ]
    assert list(sentences(files)) == [
        "a and 2 more tensors of the result hold NaN, which came from x and y.",
        "c of the result holds infinities, which none of the models holds there.",
        "e of the result holds NaN.",
    ]
