"""What a merge leaves out is told before, by name and size; config.json and weights of a result agree."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from llmcourse.core.errors import PlanError
from llmcourse.core.machine import Machine
from llmcourse.core.model import ModelRef, read_local
from llmcourse.core.plan import Facts
from llmcourse.merge.config import walk_stages
from llmcourse.merge.left_out_checks import account_checks
from llmcourse.merge.plan import plan, present, questions
from llmcourse.merge.recipe import Recipe
from tests.merge.builders import LAPTOP, LINEAR, config, model, said
from tests.merge.tiny_models import Mergers, build, loaded, tensors

Tensors = dict[str, torch.Tensor]
HALVES = """
merge:
  merge_method: linear
  models: [{model: a, parameters: {weight: 0.5}}, {model: b, parameters: {weight: 0.5}}]
  dtype: bfloat16
options: {copy_tokenizer: false}
"""


def changed(folder: Path, change: Callable[[Tensors], Tensors], **stated: Any) -> Path:
    path = folder / "model.safetensors"
    made = {name: value.contiguous() for name, value in change(load_file(path)).items()}
    save_file(made, path, {"format": "pt"})
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(text | stated))
    return folder


def with_mtp(tensors: Tensors) -> Tensors:
    """As GLM 4.5 and DeepSeek V3 are published: a layer beyond those that config.json counts."""
    more = {
        name.replace("layers.1.", "layers.2."): value
        for name, value in tensors.items()
        if "layers.1." in name
    }
    more["model.layers.2.embed_tokens.weight"] = tensors["model.embed_tokens.weight"]
    more["model.layers.2.eh_proj.weight"] = torch.zeros(32, 64, dtype=torch.bfloat16)
    return tensors | {name: value.clone() for name, value in more.items()}


def known(*names: str, folder: Path, machine: Machine = LAPTOP) -> Facts:
    models = {name: read_local(ModelRef.parse(str(folder / name))) for name in names}
    return Facts(machine, models, present=present())


def planned(merger: Mergers, folder: Path) -> tuple[list[str], list[str], Mapping[str, Any] | None]:
    """What the plan refuses and warns of, with the child's answer to its question, if it has one."""
    read, facts = config(HALVES), known("a", "b", folder=folder)
    asked = questions(read, facts)
    if asked is not None:
        answers = merger.answer(HALVES, json.loads(json.dumps(asked)), a=folder / "a", b=folder / "b")
        facts = replace(facts, answers=answers)
    made = plan(read, facts)
    told = [line for line in said(made, "warn") if line.startswith(("tensors", "config.json"))]
    return said(made), told, asked


def test_plain_models_need_no_question(tmp_path: Path, merger: Mergers) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed)
    assert planned(merger, tmp_path) == ([], [], None)


@pytest.mark.parametrize("architecture", ["glm4_moe", "deepseek_v3"])
def test_lost_mtp_layer_is_told_and_no_longer_promised(
    architecture: str, tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        changed(build(tmp_path / name, architecture, seed), with_mtp, num_nextn_predict_layers=1)
    refused, told, _ = planned(merger, tmp_path)
    assert refused == []
    lost = [line for line in told if "loses the layers that predict further tokens (MTP)" in line]
    assert [line.split()[1] for line in lost] == ["a", "b"] and all("kB" in line for line in lost)
    assert any("num_nextn_predict_layers is 0 and not 1" in line for line in told)
    result = merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b")
    assert json.loads((result / "config.json").read_text())["num_nextn_predict_layers"] == 0
    assert not [name for name in tensors(result) if "layers.2." in name]
    loaded(result)


def test_biases_that_the_base_lacks_are_told_by_name_and_size(tmp_path: Path, merger: Mergers) -> None:
    build(tmp_path / "a", "llama")
    build(tmp_path / "b", "llama", 1, attention_bias=True)
    refused, told, _ = planned(merger, tmp_path)
    assert refused == []
    [line] = told
    assert line.startswith("tensors: b loses weights, 384 B: model.layers.*.self_attn.k_proj.bias (2)")


def test_result_that_would_lack_what_its_config_promises_is_refused(tmp_path: Path, merger: Mergers) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed, attention_bias=True)
    refused, _, _ = planned(merger, tmp_path)
    [line] = refused
    assert "The result would lack" in line and "self_attn.q_proj.bias (2)" in line


def test_weight_that_one_model_lacks_is_refused_where_mergekit_needs_it(
    tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed)
    changed(tmp_path / "b", lambda t: {name: value for name, value in t.items() if "1.mlp.up" not in name})
    refused, _, _ = planned(merger, tmp_path)
    [line] = refused
    assert "b has no model.layers.1.mlp.up_proj.weight, which mergekit wants of a LlamaForCausalLM." in line


@pytest.mark.parametrize("tied", ["a", "b"])
def test_tied_beside_untied_gives_an_output_matrix_that_counts(
    tied: str, tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed, tie_word_embeddings=name == tied)
    refused, told, _ = planned(merger, tmp_path)
    assert refused == []
    assert [line for line in told if "tie_word_embeddings is false" in line] == told[1:] * (tied == "a")
    assert (
        f"tensors: {tied} has no output matrix (lm_head); its embeddings are merged in its place" in told[0]
    )
    result = merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b")
    assert json.loads((result / "config.json").read_text())["tie_word_embeddings"] is False
    embeddings, head = "model.embed_tokens.weight", "lm_head.weight"
    other = "b" if tied == "a" else "a"
    mean = (tensors(tmp_path / tied)[embeddings].float() + tensors(tmp_path / other)[head].float()) / 2
    read = loaded(result)
    assert torch.equal(read.lm_head.weight.float(), mean.to(torch.bfloat16).float())


@pytest.mark.parametrize("without", ["a", "b"])
def test_an_output_matrix_that_config_promises_and_files_lack_is_told_and_counted(
    without: str, tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed)
    changed(
        tmp_path / without,
        lambda given: {name: value for name, value in given.items() if name != "lm_head.weight"},
    )
    read, facts = config(HALVES), known("a", "b", folder=tmp_path)
    asked = json.loads(json.dumps(questions(read, facts)))
    answers = merger.answer(HALVES, asked, a=tmp_path / "a", b=tmp_path / "b")
    made = plan(read, replace(facts, answers=answers))
    sentence = (
        "no output matrix (lm_head), though its config.json does not say that it is tied; its embeddings"
    )
    assert [line for line in said(made, "warn") if f"tensors: {without} has {sentence}" in line]
    result = tensors(merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b"))
    assert "lm_head.weight" in result
    assert made.estimate.write == sum(value.nbytes for value in result.values())


def test_copies_of_tied_embeddings_stay_tied(tmp_path: Path, merger: Mergers) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed, tie_word_embeddings=True)
        changed(tmp_path / name, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    assert planned(merger, tmp_path)[:2] == ([], [])
    result = merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b")
    assert json.loads((result / "config.json").read_text())["tie_word_embeddings"] is True


def test_result_states_no_quantization_and_the_number_of_its_embeddings(
    tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed)
        changed(tmp_path / name, dict, quantization_config={"quant_method": "gptq", "bits": 4}, vocab_size=63)
    _, told, _ = planned(merger, tmp_path)
    assert any("it says nothing of a quantization; vocab_size is 64 and not 63" in line for line in told)
    result = merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b")
    stated = json.loads((result / "config.json").read_text())
    assert "quantization_config" not in stated and stated["vocab_size"] == 64
    loaded(result)


def test_models_that_share_no_names_are_not_said_to_fit(tmp_path: Path, merger: Mergers) -> None:
    """A text model beside the same one inside a model that sees, as both are called Gemma 3."""
    build(tmp_path / "a", "llama")
    build(tmp_path / "b", "llama", 1)
    changed(tmp_path / "b", lambda t: {f"language_model.{name}": value for name, value in t.items()})
    refused, _, _ = planned(merger, tmp_path)
    assert refused and all("fit" not in line for line in refused)


def test_tensors_that_the_models_share_and_mergekit_cannot_place_are_not_said_to_differ() -> None:
    """As LLaVA, whose embeddings mergekit infers no place for."""
    read = config(LINEAR)
    [stage] = walk_stages(read)
    models = {name: model(name) for name in ("org/a", "org/b")}
    small = {name: list(t.shape) for name, t in models["org/a"].tensors.items() if "norm" in name}
    account = {"written": small, "partial": [], "missing": [], "unequal": []}
    assert isinstance(stage, Recipe)
    [check] = account_checks(stage, models, account)
    count = len(models["org/a"].tensors)
    assert check.what == f"mergekit finds a place for 1 of the {count} tensors common to org/a and org/b."


def build_vision(folder: Path, architecture: str, seed: int) -> Path:
    """A tiny Qwen that sees, as transformers publishes it."""
    torch.manual_seed(seed)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 64, "rope_parameters": rope}  # fmt: skip
    sees = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32,
            "intermediate_size": 48}  # fmt: skip
    known = AutoConfig.for_model(architecture, text_config=text, vision_config=sees)
    made: Any = AutoModelForImageTextToText.from_config(known)  # type: ignore[no-untyped-call]
    made.to(torch.bfloat16).save_pretrained(folder)
    return folder


def test_a_tensor_that_mergekit_names_twice_is_written_once(tmp_path: Path, merger: Mergers) -> None:
    for seed, name in enumerate("ab"):
        build_vision(tmp_path / name, "qwen2_5_vl", seed)
    refused, _, _ = planned(merger, tmp_path)
    assert refused == []
    result = merger.merged(HALVES, a=tmp_path / "a", b=tmp_path / "b")
    first, second, made = tensors(tmp_path / "a"), tensors(tmp_path / "b"), tensors(result)
    assert made.keys() == first.keys()
    for name, value in made.items():
        mean = (first[name].float() + second[name].float()) / 2
        assert torch.allclose(value.float(), mean, rtol=0.01, atol=1e-6), name


def test_a_configuration_that_mergekit_s_definition_does_not_fit_is_refused_in_the_plan(
    tmp_path: Path, merger: Mergers
) -> None:
    for seed, name in enumerate("ab"):
        build_vision(tmp_path / name, "qwen2_vl", seed)
    with pytest.raises(
        PlanError, match="wants num_hidden_layers in the models' configuration; a Qwen2VLConfig has"
    ):
        planned(merger, tmp_path)


def test_a_plan_after_one_that_was_stopped_in_its_middle(tmp_path: Path, merger: Mergers) -> None:
    """What the child left in its scratch folder is no obstacle."""
    for seed, name in enumerate("ab"):
        build(tmp_path / name, "llama", seed, attention_bias=True)
    asked = questions(config(HALVES), known("a", "b", folder=tmp_path))
    job = merger.job(HALVES, json.loads(json.dumps(asked)), {name: tmp_path / name for name in "ab"})
    assert asked is not None
    (job.scratch / "inputs" / "0").mkdir(parents=True)
    (job.scratch / "inputs" / "0" / "config.json").symlink_to(tmp_path / "a" / "config.json")
    assert len(merger.worker.ask(job, lambda event: None)["stages"]) == 1
