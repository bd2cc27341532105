"""Models whose files do not fit together, or are not as the converter wants them."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import pytest
from gguf.gguf_reader import GGUFReader
from safetensors.torch import load_file, save_file

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.model import ModelFacts, Tensor
from llmcourse.quantize_gguf.converter.refusals import converter_errors, refusal
from llmcourse.testing.models import Family, build_random_llama
from tests.model_folders import llama_config, whole_llama_shapes
from tests.quantize_gguf.builders import answers, model, plan_of, said
from tests.quantize_gguf.conftest import Llama
from tests.quantize_gguf.conversions import Conversions, running
from tests.quantize_gguf.test_card import made, text_of
from tests.quantize_gguf.test_converter_process import build_mistral3


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    with running(tmp_path_factory.mktemp("odd")) as started:
        yield started


@pytest.fixture
def tiny(tmp_path: Path, family: Family) -> Path:
    return Path(shutil.copytree(family.base, tmp_path / "tiny"))


CARDS = {
    "no YAML": (b"---\nlicense: [mit\nbase_model: x: y\n---\n", "line 3"),
    "Latin-1": (b"---\nlicense: mit\nauthor: M\xfcller\n---\n", "not written in UTF-8"),
    "a value that no GGUF holds": (b"---\nlicense: {a: 1}\n---\n", "a value of the wrong kind"),
    "an origin that is none": (b"---\nbase_model: [{name: [1, {a: b}]}]\n---\n", "a value of the wrong kind"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_cannot_be_read_is_passed_over(name: str, conversions: Conversions, tiny: Path) -> None:
    content, problem = CARDS[name]
    (tiny / "README.md").write_bytes(content)
    assert problem in conversions.run("convert", tiny, metadata={"name": "mine"})["card_problem"]
    head = GGUFReader(conversions.converted).fields
    assert head["general.name"].contents() == "mine" and "general.license" not in head


def test_a_card_that_can_be_read_is_in_the_file(conversions: Conversions, tiny: Path) -> None:
    (tiny / "README.md").write_text("---\nlicense: mit\ntags: [a]\n---\n")
    assert conversions.run("convert", tiny)["card_problem"] is None
    assert GGUFReader(conversions.converted).fields["general.license"].contents() == "mit"


def test_the_plan_names_the_card_that_was_passed_over() -> None:
    plan = plan_of("{model: org/tiny, types: [F16]}", answers=answers() | {"card_problem": "it is torn"})
    assert any(
        line.startswith("README.md: The model's card is passed over, because it is torn")
        for line in said(plan, "warn")
    )
    assert not said(plan)


def llama(config: dict[str, Any], layers: int = 4, lost: Sequence[str] = ()) -> dict[str, ModelFacts]:
    """A whole Llama without the weights that are `lost`, as "2.self_attn.k_proj"."""
    shapes: dict[str, tuple[int, ...]] = dict(whole_llama_shapes(layers))
    for name in lost:
        del shapes[f"model.layers.{name}.weight"]
    tensors = {
        name: Tensor(shape, "BF16", 2 * prod(shape), "model.safetensors") for name, shape in shapes.items()
    }
    return {"org/tiny": model(tensors=tensors, config=llama_config(layers) | config)}


def failures(models: dict[str, ModelFacts]) -> list[str]:
    return said(plan_of("{model: org/tiny, types: [F16]}", models=models))


@pytest.mark.parametrize("layers", [2, 4])
def test_a_tensor_that_one_layer_lacks_is_refused_by_name(layers: int) -> None:
    [failure] = failures(llama({}, layers, ["1.mlp.up_proj"]))
    assert "has no tensor model.layers.1.mlp.up_proj.weight, which its other layers have" in failure


@pytest.mark.parametrize(
    ("config", "lost"),
    [
        ({"layer_types": ["sliding", "sliding", "sliding", "full"]}, ["3.self_attn.v_proj"]),
        ({"attention_layers": [0, 1, 3]}, ["2.self_attn.q_proj"]),
        ({"num_kv_shared_layers": 1}, ["3.self_attn.k_proj", "3.self_attn.v_proj"]),
        ({"block_configs": [{}]}, ["3.self_attn.k_proj"]),
        ({}, ["2.self_attn.k_proj", "3.self_attn.k_proj"]),
        ({}, ["0.input_layernorm"]),
        ({"num_hidden_layers": 3}, ["3.mlp.up_proj"]),
    ],
)  # fmt: skip
def test_layers_of_several_kinds_are_taken(config: dict[str, Any], lost: list[str]) -> None:
    assert failures(llama(config, lost=lost)) == []


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"num_attention_heads": 2, "head_dim": 2, "num_key_value_heads": 1},
            "so 2 rows in model.layers.0.self_attn.k_proj.weight, which has 4",
        ),
        (
            {"num_attention_heads": 4, "head_dim": 2},
            "so 8 rows in model.layers.0.self_attn.q_proj.weight, which has 4",
        ),
        ({"intermediate_size": 12}, "up_proj.weight of org/tiny has 8 rows, and config.json says 12"),
    ],
)  # fmt: skip
def test_a_shape_that_config_json_contradicts_is_refused(config: dict[str, Any], sentence: str) -> None:
    [failure] = failures(llama(config))
    assert sentence in failure


@pytest.mark.parametrize(
    "config",
    [
        {"num_attention_heads": 2, "num_key_value_heads": 2},
        {"num_attention_heads": 4, "head_dim": 2, "model_type": "qwen3_next"},
        {"num_attention_heads": 4, "model_type": "qwen3"},  # whose heads are 128 wide where nothing is said
    ],
)  # fmt: skip
def test_shapes_that_fit_or_cannot_be_known_are_taken(config: dict[str, Any]) -> None:
    assert failures(llama(config)) == []


def test_a_model_that_sees_says_that_its_file_does_not(
    conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    assert (
        conversions.run("examine", build_mistral3(tmp_path / "seeing", family.base))["projector"] == "vision"
    )
    assert conversions.run("examine", family.base)["projector"] is None


@pytest.mark.parametrize(("mmproj", "is_said"), [("", True), (", mmproj: true", False)])
def test_plan_and_card_tell_of_a_part_that_is_left_out(mmproj: str, is_said: bool) -> None:
    config = f"{{model: org/tiny, types: [F16]{mmproj}}}"
    seeing = answers() | {"projector": "vision"}
    warnings = said(plan_of(config, answers=seeing), "warn")
    assert any("vision part of the model is not in these files" in line for line in warnings) is is_said
    text = text_of(config, *made("F16"), answers=seeing)
    assert ("vision part of the model is not in these files" in text) is is_said


REFUSALS = {
    "a key": (KeyError("[gMASK]"), "", "config.json or the tokenizer has no [gMASK], which"),
    "a sentence as a key": (
        KeyError("Missing the required key rope_scaling.type"),
        "",
        "required key rope_scaling.type.",
    ),
    "a path of ours": (
        ValueError("Error: Missing /home/me/cache/answers/ab/stand-in/phi/tokenizer.model"),
        "",
        "The model has no tokenizer.model, which",
    ),
    "an exit after a line in the log": (
        SystemExit(1),
        "Error: Missing /a/b/tokenizer.model",
        "has no tokenizer.model",
    ),
    "no architecture": (
        ValueError("Failed to detect model architecture"),
        "",
        "does not say which architecture",
    ),
    "an index of others": (
        ValueError(
            "Mismatch between weight map and model parts for tensor names:\nMissing tensors: ['a.weight']"
        ),
        "",
        "do not belong together: Missing tensors: ['a.weight'].",
    ),
    "a reason on the next line": (
        RuntimeError("Cannot read:\n  the second line."),
        "",
        "Cannot read: the second line.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_converter_says_becomes_a_sentence(name: str) -> None:
    error, logged, sentence = REFUSALS[name]
    found = refusal(error, logged)
    assert sentence in found.what and "/" not in found.what and found.fix.endswith(".")


def test_what_is_logged_before_an_exit_is_the_reason() -> None:
    with pytest.raises(PlanError, match=r"has no tokenizer\.model"), converter_errors():
        logging.getLogger("hf-to-gguf").error("Error: Missing /some/where/tokenizer.model")
        raise SystemExit(1)


def test_a_gpt2_whose_config_says_its_context_under_the_newer_name_is_converted(
    conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    folder = build_random_llama(
        tmp_path / "g", architecture="gpt2", hidden=256, heads=4, tokenizer_from=family.base
    )
    config = json.loads((folder / "config.json").read_text())
    config.pop("n_ctx", None)
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": 96}))
    assert conversions.run("examine", folder)["context_length"] == 96


def test_weights_that_are_no_numbers_are_named(llama: Llama, conversions: Conversions, tiny: Path) -> None:
    tensors = load_file(tiny / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 3] = float("nan")
    save_file(tensors, tiny / "model.safetensors", metadata={"format": "pt"})
    conversions.run("convert", tiny)
    sentence = r"own weights hold values that are no numbers .*: tensor blk\.1\.ffn_up\.weight"
    with pytest.raises(LibraryError, match=sentence):
        llama.quantize(conversions.converted, "F16")
    with pytest.raises(LibraryError, match=sentence):
        llama.generate(conversions.converted)
