"""The converter's process: the bytes of llama.cpp's own script, exact plans, refusals in sentences."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

from llmcourse.core.errors import PlanError
from llmcourse.core.model import ModelRef, read_local
from llmcourse.core.progress import Advanced, Started
from llmcourse.quantize_gguf.converter.source import converter_environment
from llmcourse.testing.bpe import train_bpe
from llmcourse.testing.models import Family, build_lora, build_random_llama
from llmcourse.testing.models.untrained import copy_tokenizer
from tests.quantize_gguf.conftest import Llama
from tests.quantize_gguf.conversions import Conversions, converter_folder, running


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    with running(tmp_path_factory.mktemp("converter")) as process:
        yield process


@pytest.fixture
def tiny(tmp_path: Path, family: Family) -> Path:
    return build_random_llama(tmp_path / "Tiny-Llama-1B-chat", tokenizer_from=family.base)


def run_script(name: str, *arguments: str | Path) -> None:
    """Run llama.cpp's own script of the same version, as people do by hand."""
    subprocess.run(
        [sys.executable, str(converter_folder() / name), *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )


def described(model: Path) -> dict[str, Any]:
    """What is known of the weights of a model on the Hub."""
    tensors = read_local(ModelRef.parse(str(model))).tensors
    return {n: {"dtype": t.dtype, "shape": list(t.shape), "file": t.file} for n, t in tensors.items()}


def build_mixtral(folder: Path, tokenizer: Path) -> Path:
    config = AutoConfig.for_model(
        "mixtral", vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    model.to(torch.bfloat16).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


_TINY: dict[str, Any] = {
    "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "head_dim": 32,
    "num_attention_heads": 4, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def build_mistral3(folder: Path, tokenizer: Path) -> Path:
    """As published: the converter's class for it hands all work to an inner object."""
    rope = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1}  # fmt: skip
    vision = {"model_type": "pixtral", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
              "num_attention_heads": 2, "image_size": 28, "patch_size": 14}  # fmt: skip
    text = _TINY | {"model_type": "ministral3", "rope_parameters": rope}
    config = Mistral3Config(text_config=text, vision_config=vision, spatial_merge_size=2)
    model: Any = Mistral3ForConditionalGeneration(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


def build_qwen35(folder: Path, tokenizer: Path) -> Path:
    """A fine-tune: transformers keeps no layer that predicts further tokens."""
    kinds = ["linear_attention", "full_attention"]
    linear: dict[str, Any] = {
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32,
        "linear_value_head_dim": 32, "layer_types": kinds, "mtp_num_hidden_layers": 1,
    }  # fmt: skip
    model: Any = Qwen3_5ForCausalLM(Qwen3_5TextConfig(**_TINY, **linear))
    model.to(torch.bfloat16).save_pretrained(folder)
    copy_tokenizer(tokenizer, folder)
    return folder


MODELS: dict[str, Callable[[Path, Path], Path]] = {
    "bf16 in shards": lambda folder, base: build_random_llama(
        folder, tokenizer_from=base, shard_bytes=200_000
    ),
    "f16, tied": lambda folder, base: build_random_llama(
        folder, tokenizer_from=base, dtype="float16", tie_word_embeddings=True
    ),
    "f32": lambda folder, base: build_random_llama(folder, tokenizer_from=base, dtype="float32", kv_heads=2),
    "mixtral": build_mixtral,
    "mistral 3": build_mistral3,
}
QUICK = ("bf16 in shards", "mistral 3")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MODELS]
)
def test_every_byte_is_that_of_llama_cpps_script(
    name: str, conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    model = MODELS[name](tmp_path / "Some-Model-7B", family.base)
    # The script would halve the precision of float32 unless it is told not to.
    precision = ["--outtype", "f32"] if name == "f32" else []
    run_script("convert_hf_to_gguf.py", model, "--outfile", tmp_path / "script.gguf", *precision)
    facts = conversions.run("examine", model)
    conversions.run("convert", model)
    data = conversions.converted.read_bytes()
    assert data == (tmp_path / "script.gguf").read_bytes()
    (made,) = conversions.made
    assert (made.path, made.size) == ("m.gguf", facts["size_bytes"]) and len(data) == made.size


def test_layers_that_are_promised_and_absent_are_left_out(
    conversions: Conversions, tmp_path: Path, llama: Llama
) -> None:
    model = build_qwen35(tmp_path / "qwen", train_bpe(tmp_path / "bpe", "gpt-2"))
    facts = conversions.run("examine", model, pre_tokenizer="gpt-2")
    assert facts["missing_nextn"] == 1 and facts["architecture"] == "qwen35"
    conversions.run("convert", model, pre_tokenizer="gpt-2")
    assert b"nextn_predict_layers" not in conversions.converted.read_bytes()
    llama.generate(conversions.converted)  # with a layer that has no tensors llama.cpp would refuse it


@pytest.mark.parametrize("trust", [False, True])
def test_code_that_a_tokenizer_brings_runs_only_if_trusted(trust: bool, tiny: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    settings = {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["odd.Odd", None]}}
    (tiny / "tokenizer_config.json").write_text(json.dumps(settings))
    (tiny / "odd.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from transformers import PreTrainedTokenizer\nclass Odd(PreTrainedTokenizer): pass\n"
    )
    body = (
        "import os, pathlib\n"
        "from llmcourse.quantize_gguf.converter.library import import_converter\n"
        "import_converter(pathlib.Path(os.environ['LLMCOURSE_CONVERTER']))\n"
        "from transformers import AutoTokenizer\n"
        f"AutoTokenizer.from_pretrained({str(tiny)!r}, trust_remote_code=True)\n"
    )
    environment = os.environ | converter_environment(converter_folder(), trust)
    ended = subprocess.run(
        [sys.executable, "-c", body], env=environment | {"HF_HOME": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert marker.exists() == trust, ended.stderr
    assert trust or "trust_remote_code" in ended.stderr


@pytest.mark.slow
def test_nan_and_infinity_are_converted_as_by_the_script(
    conversions: Conversions, tiny: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny / "model.safetensors")
    odd = torch.tensor([0x7F81, 0x7FC1, -0x7F, 0x7F80, -0x80, 1, -0x8000], dtype=torch.int16)
    tensors["lm_head.weight"][3, :7] = odd.view(torch.bfloat16)
    save_file(tensors, tiny / "model.safetensors")
    run_script("convert_hf_to_gguf.py", tiny, "--outfile", tmp_path / "script.gguf")
    conversions.run("convert", tiny)
    assert conversions.converted.read_bytes() == (tmp_path / "script.gguf").read_bytes()


def test_the_skeleton_is_the_file_without_its_data(conversions: Conversions, tiny: Path) -> None:
    facts = conversions.run("examine", tiny)
    skeleton = conversions.skeleton.read_bytes()
    assert conversions.skeleton.stat().st_blocks * 512 < len(skeleton) / 2
    conversions.run("convert", tiny)
    data = conversions.converted.read_bytes()
    head = skeleton.rstrip(b"\0")
    assert data.startswith(head) and len(data) == len(skeleton) == facts["size_bytes"]
    assert (facts["architecture"], facts["hf_architecture"], facts["outtype"], facts["file_type"]) == (
        "llama", "LlamaForCausalLM", "bf16", 32,
    )  # fmt: skip
    assert (facts["n_params"], facts["n_tensors"], facts["context_length"]) == (344384, 21, 2048)
    assert (facts["tokenizer_model"], facts["vocab_size"], facts["has_chat_template"]) == (
        "llama",
        2048,
        False,
    )
    assert facts["pre_tokenizer"]["how"] == "none"


@pytest.mark.parametrize("shard_bytes", [None, 200_000])
def test_a_model_is_examined_before_its_weights_are_here(
    shard_bytes: int | None, conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    whole = build_random_llama(tmp_path / "m", tokenizer_from=family.base, shard_bytes=shard_bytes)
    expected = conversions.run("examine", whole)
    skeleton = conversions.skeleton.read_bytes()
    tensors = described(whole)
    for file in whole.glob("*.safetensors"):
        file.unlink()
    assert conversions.run("examine", whole, tensors=tensors) == expected
    assert conversions.skeleton.read_bytes() == skeleton


def test_the_tokenizer_is_read_once(conversions: Conversions, family: Family, tmp_path: Path) -> None:
    model = build_random_llama(tmp_path / "m", tokenizer_from=family.code, layers=1)
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 777}
    (model / "config.json").write_text(json.dumps(config))  # a model that no other test has
    before = conversions.log.count("Setting special token type bos")
    conversions.run("examine", model)
    conversions.run("convert", shutil.copytree(model, tmp_path / "downloaded"))
    assert conversions.log.count("Setting special token type bos") == before + 1


def test_metadata_is_what_was_given(conversions: Conversions, tiny: Path) -> None:
    (tiny / "README.md").write_text("---\nlicense: mit\ntags: [text]\n---\n")
    base = {"name": "Big", "organization": "org", "repo_url": "https://huggingface.co/org/Big"}
    known = {"name": "Big-2B-it", "author": "me", "license": "apache-2.0", "quantized_by": "you"}
    conversions.run("convert", tiny, metadata=known | {"base_models": [base]})
    head = conversions.converted.read_bytes()[:2000]
    for word in (b"Big-2B-it", b"me", b"apache-2.0", b"you", b"https://huggingface.co/org/Big", b"text"):
        assert len(word).to_bytes(8, "little") + word in head
    assert b"mit" not in head and b"Tiny" not in head
    conversions.run("examine", tiny)
    assert b"Tiny Llama 1B Chat" in conversions.skeleton.read_bytes()[:2000]


def test_progress_is_in_bytes(conversions: Conversions, tiny: Path) -> None:
    conversions.run("convert", tiny)
    (start,) = [event for event in conversions.events if isinstance(event, Started)]
    done = [event.done for event in conversions.events if isinstance(event, Advanced)]
    assert (start.unit, start.total) == ("B", done[-1]) and done == sorted(done)


def test_a_full_disk_leaves_no_half_file(tmp_path: Path, tiny: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    try:
        with running(tmp_path) as process, pytest.raises(PlanError, match=r"disk is full|File too large"):
            process.run("convert", tiny)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(process.files.iterdir()) and not list(process.scratch.glob("partial*"))


def change_config(model: Path, **changes: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | changes))


def rename_tensor(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    tensors["model.layers.0.strange.weight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, model / "model.safetensors")


def remove_tokenizer(model: Path) -> None:
    for file in model.glob("*token*"):
        file.unlink()


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown architecture": (
        lambda model: change_config(model, architectures=["NewForCausalLM"]),
        "does not support the architecture NewForCausalLM",
    ),
    "no architecture": (
        lambda model: change_config(model, architectures=None),
        "does not say which architecture",
    ),
    "diffusion": (lambda model: (model / "model_index.json").write_text("{}"), "a diffusion pipeline"),
    "embeddings": (lambda model: (model / "modules.json").write_text("[]"), "sentence-transformers"),
    "no tokenizer": (remove_tokenizer, "has no tokenizer"),
    "damaged tokenizer": (lambda model: (model / "tokenizer.model").write_bytes(b"no"), "refuses this model"),
    "unknown tensor": (rename_tensor, r"Can not map tensor 'model\.layers\.0\.strange\.weight'"),
    "vocabulary too small": (
        lambda model: change_config(model, vocab_size=2000),
        "rows, the vocabulary 2000 tokens",
    ),
    "vocabulary too large": (
        lambda model: change_config(model, vocab_size=2100),
        "embeddings have 2048 rows, the vocabulary 2100 tokens",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_converted_is_said_before_anything_is_written(
    name: str, conversions: Conversions, tiny: Path
) -> None:
    spoil, sentence = UNFIT[name]
    spoil(tiny)
    with pytest.raises(PlanError, match=sentence) as refusal:
        conversions.run("examine", tiny)
    assert refusal.value.fix.endswith(".") and ".." not in refusal.value.what
    assert not list(conversions.files.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_is_converted_as_by_the_script(
    conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    adapter = build_lora(tmp_path / "adapter", family.base)
    base = tmp_path / "base"
    base.mkdir()
    shutil.copy(family.base / "config.json", base)
    run_script("convert_lora_to_gguf.py", adapter, "--base", base, "--outfile", tmp_path / "script.gguf")
    conversions.run("lora", adapter, base, outtype="f32")
    assert conversions.converted.read_bytes() == (tmp_path / "script.gguf").read_bytes()
    conversions.run("lora", adapter, base, outtype="f16", metadata={"name": "Poet", "license": "mit"})
    assert b"Poet" in conversions.converted.read_bytes()[:500]
    assert conversions.made[0].size < (tmp_path / "script.gguf").stat().st_size


def test_an_adapter_that_lacks_its_weights_is_refused(
    conversions: Conversions, family: Family, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PlanError, match="no complete peft adapter"):
        conversions.run("lora", tmp_path, family.base, outtype="f32")
