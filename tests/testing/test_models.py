"""The tiny models are worth testing with: trained, different from each other, and better when merged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmcourse.testing.models import (
    BASE_ID,
    Family,
    build_family,
    build_lora,
    build_random_llama,
    corpus,
    perplexity,
)

_TEXTS = (
    "Hello world",
    "  two  spaces ",
    "\n\n    def f(x):\n\treturn x**2  # ü 漢字 🙂\n",
    "12345 6.78e-9 é́ ½ ﬁ",
    "\x00\x7f\t\t",
    "",
)


# The first of these tests builds the models, which takes minutes where other workers use the cores too.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def family() -> Family:
    return build_family()


@pytest.fixture(scope="module")
def table(family: Family, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Held-out perplexity by model and kind of text."""
    merged = _average(family, tmp_path_factory.mktemp("merged"))
    models = {"base": family.base, "code": family.code, "prose": family.prose, "merged": merged}
    return {
        name: {kind: perplexity(folder, text) for kind, text in family.eval_texts.items()}
        for name, folder in models.items()
    }


def _average(family: Family, folder: Path) -> Path:
    """The 50/50 mean of the fine-tunes, in float32 and rounded once, as mergekit's `linear` makes it."""
    code, prose = (load_file(parent / "model.safetensors") for parent in (family.code, family.prose))
    mean = {name: ((code[name].float() + prose[name].float()) / 2).bfloat16() for name in code}
    save_file(mean, folder / "model.safetensors", metadata={"format": "pt"})
    for path in family.base.iterdir():
        if path.name != "model.safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_base_learned_to_predict(table: dict[str, dict[str, float]]) -> None:
    assert max(table["base"].values()) < 200  # an untrained model has the vocabulary's size, 2048


@pytest.mark.parametrize(("kind", "other"), [("code", "prose"), ("prose", "code")])
def test_fine_tune_is_better_on_its_own_kind_only(
    table: dict[str, dict[str, float]], kind: str, other: str
) -> None:
    assert table[kind][kind] < 0.95 * table["base"][kind]
    assert table[kind][other] > 1.1 * table[other][other]


@pytest.mark.parametrize("kind", ["code", "prose"])
def test_average_beats_base_and_the_worse_parent(table: dict[str, dict[str, float]], kind: str) -> None:
    assert table["merged"][kind] < 0.98 * table["base"][kind]
    assert table["merged"][kind] < 0.95 * max(table["code"][kind], table["prose"][kind])


def test_sentencepiece_and_transformers_tokenize_alike(family: Family) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(family.base / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(family.base)
    for text in (*_TEXTS, *family.eval_texts.values()):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert ids == pieces.encode(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("a")[0] == pieces.bos_id()


def test_folders_hold_what_a_published_model_has(family: Family) -> None:
    for folder in (family.base, family.code, family.prose):
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
        assert {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"} <= names
        assert {w.dtype for w in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert f"base_model: {BASE_ID}" in (family.code / "README.md").read_text("utf-8")
    assert "base_model" not in (family.base / "README.md").read_text("utf-8")


def test_held_out_passages_are_not_trained_on() -> None:
    texts = corpus.read()
    for kind, held_out in texts.held_out.items():
        trained_on = set(texts.training[kind].split("\n\n"))
        assert trained_on.isdisjoint(held_out.split("\n\n"))


def test_cache_hit_imports_no_torch_and_is_quick(family: Family) -> None:
    script = (
        "import sys, time\nfrom llmcourse.testing.models import build_family\nstart = time.perf_counter()\n"
        "base = build_family().base\nprint(base, time.perf_counter() - start, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    base, seconds, torch_imported = result.stdout.split()
    assert (Path(base), torch_imported) == (family.base, "False")
    assert float(seconds) < 1


# The real builder with a build that is quick: what is under test is who gets to build.
_COUNTING_BUILDER = """
import sys, time
from pathlib import Path
from llmcourse.testing.models import family
def build(folder, report):
    Path(sys.argv[2]).open("a").write("built\\n")
    time.sleep(0.5)
    for kind in ("code", "prose"):
        path = folder / "eval" / f"{kind}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kind)
    assert not (folder / "leftover").exists()
family._build = build
print(family.build_family(Path(sys.argv[1])).base)
"""


def test_concurrent_builders_yield_one_build(tmp_path: Path) -> None:
    first_key = build_family().base.parent.name
    killed = tmp_path / "tiny-models" / f"{first_key}.partial" / "leftover"
    killed.mkdir(parents=True)  # of a build that was killed
    log = tmp_path / "log"
    command = [sys.executable, "-c", _COUNTING_BUILDER, str(tmp_path), str(log)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = {builder.communicate(timeout=60)[0] for builder in builders}
    assert [builder.returncode for builder in builders] == [0] * 4
    assert len(outputs) == 1
    assert log.read_text() == "built\n"


# peft 0.21 asks transformers 5.23 by the old name; goes when peft asks for is_activation_checkpointing.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_lora_changes_what_the_base_says(family: Family, tmp_path: Path) -> None:
    from peft import PeftModel

    folder = build_lora(tmp_path / "lora", family.base, rank=2)
    base = AutoModelForCausalLM.from_pretrained(family.base, dtype=torch.float32)
    ids = torch.arange(1, 20).unsqueeze(0)
    with torch.inference_mode():
        before = base(input_ids=ids).logits
        after = PeftModel.from_pretrained(base, folder)(input_ids=ids).logits
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "gpt2"])
@pytest.mark.parametrize("tied", [False, True])
def test_random_model_loads_whole(tmp_path: Path, architecture: str, tied: bool) -> None:
    build_random_llama(
        tmp_path,
        vocab=300,
        kv_heads=2,
        shard_bytes=50_000,
        architecture=architecture,
        tie_word_embeddings=tied,
    )
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    model, report = loaded
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.dtype == torch.bfloat16
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text("utf-8"))
    assert len(set(index["weight_map"].values())) > 1
    assert model(input_ids=torch.tensor([[1, 5, 7]])).logits.isfinite().all()


def test_random_model_is_the_same_for_the_same_seed_however_sharded(family: Family, tmp_path: Path) -> None:
    whole = load_file(build_random_llama(tmp_path / "a", tokenizer_from=family.base) / "model.safetensors")
    sharded = build_random_llama(tmp_path / "b", shard_bytes=100_000)
    for path in sharded.glob("*.safetensors"):
        for name, weight in load_file(path).items():
            assert torch.equal(weight, whole[name])
    assert AutoTokenizer.from_pretrained(tmp_path / "a").vocab_size == 2048
