"""Results have the names and shapes that models of their kind are published with."""

import json
from pathlib import Path

import pytest
import torch

from llmcourse.testing.models import Family
from llmcourse.testing.models.untrained import copy_tokenizer
from tests.merge.tiny_models import Mergers, build, loaded, tensors

HALVES = """
merge_method: linear
models: [{model: a, parameters: {weight: 0.5}}, {model: b, parameters: {weight: 0.5}}]
dtype: bfloat16
"""
SMALL_FILES = f"merge:{HALVES.replace(chr(10), chr(10) + '  ')}\noptions: {{out_shard_size: 20000}}"


@pytest.mark.parametrize(
    "architecture", ["mixtral", "qwen2_moe", "qwen3_moe", "glm4_moe", "deepseek_v3", "olmoe", "granitemoe"]
)
def test_merged_experts_are_written_as_their_parents_are(
    architecture: str, tmp_path: Path, merger: Mergers
) -> None:
    parents = [build(tmp_path / name, architecture, seed) for seed, name in enumerate("ab")]
    result = merger.merged(SMALL_FILES, a=parents[0], b=parents[1])
    first, second, mean = tensors(parents[0]), tensors(parents[1]), tensors(result)
    assert len(list(result.glob("*.safetensors"))) > 2
    assert set(mean) == set(first)
    for name, value in mean.items():
        expected = (first[name].float() + second[name].float()) / 2
        assert torch.equal(value.float(), expected.to(value.dtype).float()), name
    loaded(result)


MIXTURE = """
base_model: a
gate_mode: random
dtype: bfloat16
experts: [{{source_model: a}}, {{source_model: b}}]
{more}
"""
SHARED = "shared_experts: [{source_model: c, residual_scale: 0.5}]"


@pytest.mark.parametrize(
    ("architecture", "more", "name"),
    [
        ("llama", "", "block_sparse_moe.experts.1.w2.weight"),
        ("qwen3", "", "mlp.experts.1.down_proj.weight"),
        ("qwen2", SHARED, "mlp.experts.1.down_proj.weight"),
        ("llama", f"architecture: qwen\n{SHARED}", "mlp.experts.1.down_proj.weight"),
        ("llama", f"architecture: deepseek\n{SHARED}", "mlp.experts.1.down_proj.weight"),
    ],
    ids=["Mixtral", "Qwen3 MoE", "Qwen MoE", "Qwen MoE of Llamas", "DeepSeek MoE"],
)
def test_mixtures_are_written_as_published(
    architecture: str, more: str, name: str, tmp_path: Path, family: Family, merger: Mergers
) -> None:
    """The shared expert's model is neither base nor expert."""
    names = "abc" if "shared" in more else "ab"
    parents = {name: build(tmp_path / name, architecture, seed) for seed, name in enumerate(names)}
    for path in parents.values():
        copy_tokenizer(family.base, path)
    result = merger.merged(MIXTURE.format(more=more), **parents)
    made, expert = tensors(result), tensors(parents["b"])
    assert torch.equal(made[f"model.layers.0.{name}"], expert["model.layers.0.mlp.down_proj.weight"])
    assert not [name for name in made if name.endswith(("gate_up_proj", "experts.down_proj"))]
    if "deepseek" not in more:  # whose class comes with a repository
        loaded(result)


def test_qwen_mixture_of_tied_models_has_an_output_matrix(
    tmp_path: Path, family: Family, merger: Mergers
) -> None:
    """Published Qwen2-MoE models have one, and llama.cpp loads none without."""
    names = {name: build(tmp_path / name, "qwen2", tie_word_embeddings=True) for name in "abc"}
    for path in names.values():
        copy_tokenizer(family.base, path)
    result = merger.merged(MIXTURE.format(more=SHARED), **names)
    made = tensors(result)
    assert torch.equal(made["lm_head.weight"], made["model.embed_tokens.weight"])
    assert json.loads((result / "config.json").read_text())["tie_word_embeddings"] is False
    loaded(result)
