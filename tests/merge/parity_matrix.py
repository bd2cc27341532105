"""Merge tiny models of an architecture by every method, by mergekit's own `run_merge` and by ours; compare.

Usage: python parity_matrix.py FOLDER ARCHITECTURE [METHOD ...]

Prints one JSON document: for each merge the tensors that differ in a bit.  One process, as importing takes
longest; mergekit goes first, because ours replaces some of its methods.
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from mergekit.io.tasks import LoaderCache
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from llmcourse.core.isolated import Job
from llmcourse.core.progress import Progress
from llmcourse.merge.config import Config
from llmcourse.merge.methods import METHODS
from llmcourse.merge.resolve import OrderedConfiguration
from llmcourse.merge.run import run

SEED = 11
_COMMON = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
           "vocab_size": 96, "max_position_embeddings": 64}  # fmt: skip
_GROUPED = _COMMON | {"num_key_value_heads": 2}
# transformers' name of the configuration, its values, the modules that a LoRA changes.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "llama": ("LlamaConfig", _GROUPED, ["q_proj", "down_proj"]),
    "mistral": ("MistralConfig", _GROUPED, ["q_proj", "v_proj"]),
    "qwen2": ("Qwen2Config", _GROUPED, ["q_proj", "o_proj"]),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 8}, ["k_proj", "up_proj"]),
    "gemma": ("GemmaConfig", _GROUPED | {"head_dim": 8}, ["q_proj", "up_proj"]),
    "gemma2": ("Gemma2Config", _GROUPED | {"head_dim": 8}, ["q_proj", "up_proj"]),
    "phi3": ("Phi3Config", _GROUPED | {"pad_token_id": 0}, ["qkv_proj"]),
    "gpt_neox": ("GPTNeoXConfig", _COMMON, ["query_key_value"]),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 96}, ["c_attn"]),
}
PARAMETERS: dict[str, Any] = {"weight": 0.6, "density": 0.5, "t": 0.4, "epsilon": 0.1}


def models(folder: Path, architecture: str) -> dict[str, Path]:
    """base, a and b, which differ from it by noise, and two LoRAs of base."""
    name, values, targets = ARCHITECTURES[architecture]
    torch.manual_seed(SEED)
    config = getattr(transformers, name)(**values)
    auto_class: Any = transformers.AutoModelForCausalLM
    model = auto_class.from_config(config).to(torch.bfloat16)
    _save(model, folder / "base", architecture)
    for number, lora in enumerate(("lora", "other-lora")):
        torch.manual_seed(SEED + number)
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
        for key, weight in adapted.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=0.05)
        adapted.save_pretrained(folder / lora)
        model = adapted.unload()
    for number, other in enumerate(("a", "b")):
        torch.manual_seed(2 * SEED + number)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
        _save(model, folder / other, architecture)
    return {name: folder / name for name in ("base", "a", "b", "lora", "other-lora")}


def _save(model: Any, folder: Path, architecture: str) -> None:
    model.save_pretrained(folder)
    if architecture != "gpt_neox":
        return
    # Published checkpoints of GPT-NeoX hold buffers: a mask, and -1e9, which float16 makes infinite.
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(_COMMON["num_hidden_layers"]):
        prefix = f"gpt_neox.layers.{layer}.attention"
        tensors[f"{prefix}.masked_bias"] = torch.tensor(-1e9).to(torch.float16)
        tensors[f"{prefix}.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
        tensors[f"{prefix}.rotary_emb.inv_freq"] = 1 / torch.arange(1.0, 2.0)
    save_file(tensors, path, {"format": "pt"})


def recipes(methods: list[str], with_loras: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """One document for each method and kind of input: whole models, one LoRA, two."""
    kinds = {"plain": ("a", "b")}
    if with_loras:
        kinds |= {"lora": ("base+lora", "b"), "loras": ("base+lora", "base+other-lora")}
    for method in methods:
        about = METHODS[method]
        settings = {key: PARAMETERS[key] for key in about.parameters if key in PARAMETERS}
        for kind, (first, second) in kinds.items():
            names = [first] if method == "passthrough" else [first, second]
            if about.max_inputs == 2:
                names = ["base", first]
            entries = [{"model": name} for name in names]
            recipe = {"models": entries, "merge_method": method, "parameters": settings}
            if about.base == "required":
                recipe["base_model"] = "base"
            yield f"{method}-{kind}", recipe
    if with_loras:
        yield "dare_ties-base-lora", {
            "models": [{"model": "a"}, {"model": "b"}], "base_model": "base+lora",
            "merge_method": "dare_ties", "parameters": {"weight": 0.5, "density": 0.5}, "dtype": "float32",
        }  # fmt: skip


def by_mergekit(recipe: dict[str, Any], places: dict[str, Path], folder: Path) -> None:
    LoaderCache().loaders.clear()
    document = json.loads(_placed(json.dumps(recipe), places))
    options = MergeOptions(
        quiet=True, write_model_card=False, copy_tokenizer=False, random_seed=SEED,
        lora_merge_cache=f"{folder}-loras",
    )  # fmt: skip
    run_merge(OrderedConfiguration.model_validate(document), str(folder), options)


def _placed(text: str, places: dict[str, Path]) -> str:
    for name in sorted(places, key=len, reverse=True):
        text = text.replace(f'"{name}"', f'"{places[name]}"').replace(f'"{name}+', f'"{places[name]}+')
        text = text.replace(f'+{name}"', f'+{places[name]}"')
    return text


def by_us(recipe: dict[str, Any], places: dict[str, Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    settings = {"options": {"random_seed": SEED, "copy_tokenizer": False}}
    inputs = {name: str(place) for name, place in places.items()}
    config = Config.model_validate({"merge": [recipe]}).model_dump(mode="json")
    scratch = folder.with_name(f"{folder.name}-scratch")
    for _ in run(Job(config, settings, inputs, folder, scratch), Progress(lambda _: None)):
        pass


def differing(ours: Path, theirs: Path) -> list[str]:
    """Names of tensors that one lacks, or that differ in dtype, shape or a bit, those of a NaN too."""
    mine, its = _read(ours), _read(theirs)
    return [name for name in sorted(mine.keys() | its.keys()) if not _same(mine.get(name), its.get(name))]


def _read(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.reshape(-1).view(torch.uint8).equal(other.reshape(-1).view(torch.uint8))


def main() -> None:
    folder, architecture = Path(sys.argv[1]), sys.argv[2]
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    places = models(folder / "models", architecture)
    # transformers drops the buffers of GPT-NeoX when it saves what a LoRA was merged into; they are needed.
    named = dict(recipes(sys.argv[3:] or list(METHODS), with_loras=architecture != "gpt_neox"))
    failed: dict[str, list[str]] = {}
    for name, recipe in named.items():
        try:
            by_mergekit(recipe, places, folder / "theirs" / name)
        except Exception as error:
            failed[name] = [f"mergekit: {error!r}"]
    made = named.keys() - failed.keys()
    for name in sorted(made):
        by_us(named[name], places, folder / "ours" / name)
    found = {name: differing(folder / "ours" / name, folder / "theirs" / name) for name in sorted(made)}
    sys.stdout.write(json.dumps(found | failed) + "\n")


if __name__ == "__main__":
    main()
