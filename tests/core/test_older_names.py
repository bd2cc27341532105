"""config.json in the words of transformers 5 and of those who came before."""

from typing import Any

import pytest

from llmcourse.core.older_names import with_older_names, with_older_names_only

LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
DEFAULT = {"rope_type": "default"}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
        ({"rope_parameters": {**DEFAULT, "rope_theta": 1e6}}, {"rope_theta": 1e6}),
        (
            {"rope_parameters": {**LLAMA_3, "rope_theta": 5e5}},
            {"rope_theta": 5e5, "rope_scaling": LLAMA_3},
        ),
        (
            {
                "model_type": "gpt_neox",
                "rope_parameters": {**DEFAULT, "rope_theta": 20000, "partial_rotary_factor": 0.25},
            },
            {"model_type": "gpt_neox", "rotary_emb_base": 20000, "rotary_pct": 0.25},
        ),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                    "sliding_attention": {**DEFAULT, "rope_theta": 1e4},
                }
            },
            {
                "rope_theta": 1e6,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                "rope_local_base_freq": 1e4,
            },
        ),
        (
            {"text_config": {"dtype": "float16"}},
            {"text_config": {"dtype": "float16", "torch_dtype": "float16"}},
        ),
        ({"rope_theta": 1e4, "torch_dtype": "float16"}, {"rope_theta": 1e4, "torch_dtype": "float16"}),
        ({"rope_parameters": None}, {}),
        ({"rope_parameters": [1], "text_config": "two"}, {"text_config": "two"}),
        ({"rope_parameters": {"full_attention": [1], "sliding_attention": "two"}}, {}),
    ],
)
def test_what_is_said_under_new_names_is_said_under_the_older_ones_too(
    new: dict[str, Any], old: dict[str, Any]
) -> None:
    assert with_older_names(new) == new | old
    assert with_older_names_only(new) == old


def test_what_a_config_says_under_an_older_name_stays() -> None:
    said = {"rope_theta": 5.0, "rope_scaling": None, "rope_parameters": {**LLAMA_3, "rope_theta": 6.0}}
    assert with_older_names(said) == said | {"rope_scaling": LLAMA_3}


def test_a_config_that_says_nothing_new_keeps_its_order() -> None:
    said = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    assert list(with_older_names(said)) == list(said)


@pytest.mark.parametrize("scaling", [DEFAULT, {**LLAMA_3, "original_max_position_embeddings": 8192}])
def test_transformers_reads_both_as_it_read_the_new_one(scaling: dict[str, Any]) -> None:
    from transformers import LlamaConfig

    new: dict[str, Any] = {"rope_parameters": {**scaling, "rope_theta": 5e5}, "dtype": "bfloat16"}
    read = LlamaConfig(**with_older_names(new)).to_dict()
    assert read == LlamaConfig(**new).to_dict()
    assert read["rope_parameters"]["rope_theta"] == 5e5
