"""What cannot become a GGUF is refused in the plan, with both sentences, before any weight is sent."""

import json
import shutil
from pathlib import Path

import pytest

from llmcourse.testing.bpe import train_bpe
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import CODE_ID, Family, build_random_llama
from llmcourse.testing.plugin import Cli, Result
from tests.quantize_gguf.builders import logged_in, program, write_config
from tests.tiny_configs import tiny_configs

USUAL = tiny_configs("quantize-gguf") / "usual.yaml"


@pytest.fixture
def alice(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory, demo_hub: LoopbackHub) -> Cli:
    return logged_in(program(llmcourse, tmp_path_factory), demo_hub)


def refused(result: Result, hub: LoopbackHub, exit_code: int = 4) -> str:
    """What every refusal has: its exit code, sentences, no traceback, no weights sent, nothing made."""
    assert result.exit_code == exit_code, result.stderr
    assert "error: " in result.stderr and "fix: " in result.stderr and "Traceback" not in result.stderr
    assert hub.weight_bytes_served() == 0
    assert not [request for request in hub.requests if request.method in ("POST", "PUT", "DELETE")]
    return result.stderr


@pytest.fixture
def local(alice: Cli, family: Family) -> Cli:
    """The same with g.yaml for a model in a folder, of which llama.cpp has been asked before."""
    write_config(alice.folder, model=str(family.base), types=["Q8_0"])
    return alice


@pytest.mark.parametrize(
    ("override", "code", "sentence", "fix"),
    [
        ("types=[Q4_KM]", 2, "Q4_KM is no type of the installed llama.cpp", "Did you mean Q4_K_M?"),
        ("types=[IQ2_M, Q8_0]", 4, "IQ2_M cannot be made without an imatrix", "Add imatrix"),
        ("tensor_types.attn_v=Q4_K_M", 2, "Q4_K_M is no type", "Did you mean Q4_K?"),
        ("split=20X", 2, "split '20X' is no size", "as 20G"),
        ("imatrix.text=gone.txt", 4, "gone.txt cannot be read", "Check the path"),
        ("keep_local=false", 2, "Nothing would be left", "Add --push"),
        ("converter=./nowhere", 3, "nowhere", ""),
        (
            "model=llmcourse-demo/tiny-lama",
            4,
            "There is no llmcourse-demo/tiny-lama on the Hub",
            "Check the name",
        ),
    ],
)
def test_refused_before_anything_is_made(
    override: str, code: int, sentence: str, fix: str, local: Cli, demo_hub: LoopbackHub
) -> None:
    stderr = refused(local("quantize-gguf", "g.yaml", override, "-o", "out"), demo_hub, code)
    assert sentence in stderr and fix in stderr
    left = {path.name for path in local.folder.iterdir() if not path.name.startswith("hf-home")}
    assert left == {"hub", "tmp", "g.yaml"}
    assert not list((local.folder / "tmp").iterdir())


@pytest.mark.parametrize("override", ["types=[Q4_KM]", "tensor_types.attn_v=Q4_K_M", "card.license=my-own"])
def test_a_mistake_of_the_config_is_said_before_llama_cpp_is_asked(
    override: str, alice: Cli, demo_hub: LoopbackHub
) -> None:
    stderr = refused(alice("quantize-gguf", USUAL, override), demo_hub, 2)
    assert stderr.count("error: ") == 1 and "load llama.cpp's converter" not in stderr


REPOSITORIES = {
    "gguf": ({"tiny.Q4_K_M.gguf": b"GGUF"}, ("GGUF", "quantized already")),
    "gguf beside a config": (
        {"tiny.Q4_K_M.gguf": b"GGUF", "config.json": b"{}"},
        ("GGUF", "quantized already"),
    ),
    "diffusion": (
        {"model_index.json": b'{"_class_name": "StableDiffusionPipeline"}', "unet/config.json": b"{}",
         "unet/diffusion_pytorch_model.safetensors": b"x"},
        ("diffusion", "language model"),
    ),
    "data set": ({"train.parquet": b"PAR1"}, ("has no config.json", "Hugging Face format")),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPOSITORIES)
def test_what_is_no_model_says_what_it_is(kind: str, alice: Cli, demo_hub: LoopbackHub) -> None:
    files, words = REPOSITORIES[kind]
    demo_hub.repo("alice/other").add_files(dict(files))
    stderr = refused(alice("quantize-gguf", USUAL, "model=alice/other", "-o", "out"), demo_hub)
    assert all(word in stderr for word in words), stderr


def without(folder: Path, *patterns: str) -> dict[str, bytes | Path]:
    """The files of a model but some."""
    return {
        path.name: path for path in folder.iterdir() if not any(path.match(pattern) for pattern in patterns)
    }


def test_a_sentence_transformer_is_refused(alice: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    demo_hub.repo("alice/embedder").add_files(without(family.base) | {"modules.json": b"[]"})
    stderr = refused(alice("quantize-gguf", USUAL, "model=alice/embedder"), demo_hub)
    assert "sentence-transformers" in stderr


def test_a_missing_tokenizer_is_refused(alice: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    demo_hub.repo("alice/mute").add_files(without(family.base, "tokenizer*"))
    stderr = refused(alice("quantize-gguf", USUAL, "model=alice/mute"), demo_hub)
    assert "alice/mute has no tokenizer" in stderr and "Copy the tokenizer files" in stderr


def test_an_architecture_that_llama_cpp_does_not_know_is_refused(
    alice: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    config = json.loads((family.base / "config.json").read_text()) | {
        "architectures": ["TimeSeriesForPrediction"], "model_type": "time_series_transformer"
    }  # fmt: skip
    demo_hub.repo("alice/odd").add_files(without(family.base) | {"config.json": json.dumps(config).encode()})
    stderr = refused(alice("quantize-gguf", USUAL, "model=alice/odd", "-o", "out"), demo_hub)
    assert "TimeSeriesForPrediction" in stderr
    assert not list((alice.folder / "tmp").iterdir())


def test_pickled_weights_are_refused(alice: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    files = without(family.base, "*.safetensors") | {"pytorch_model.bin": b"pickle"}
    demo_hub.repo("alice/pickled").add_files(files)
    stderr = refused(alice("quantize-gguf", USUAL, "model=alice/pickled"), demo_hub)
    assert "can run code" in stderr and "allow_pickle=true" in stderr


@pytest.mark.slow
def test_a_tokenizer_that_splits_as_nobody_does_is_refused_before_any_weight(
    alice: Cli, demo_hub: LoopbackHub
) -> None:
    folder = alice.folder / "strange"
    train_bpe(folder, "strange")
    build_random_llama(folder, vocab=1024)
    demo_hub.repo("alice/strange").add_files(without(folder))
    shutil.rmtree(folder)
    stderr = refused(
        alice("quantize-gguf", USUAL, "model=alice/strange", "types=[Q8_0]", "-o", "out"), demo_hub
    )
    assert "pre-tokenizer" in stderr and "pre_tokenizer" in stderr
    assert not list((alice.folder / "tmp").iterdir())


def test_a_gated_model_says_where_to_ask(alice: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.repo(CODE_ID).gate("manual", allowed=["bob"])
    stderr = refused(alice("quantize-gguf", USUAL), demo_hub)
    assert f"{CODE_ID} is gated" in stderr and f"{demo_hub.endpoint}/{CODE_ID}" in stderr


def test_a_text_that_is_too_short_is_refused_with_numbers(local: Cli, demo_hub: LoopbackHub) -> None:
    (local.folder / "short.txt").write_text("word " * 200)
    stderr = refused(local("quantize-gguf", "g.yaml", "quality.text=short.txt"), demo_hub)
    assert "tokens of this model, and 1,024 are needed at least" in stderr


@pytest.mark.parametrize(
    ("user", "repo", "sentence"),
    [
        ("reader", "alice/tiny-GGUF", "may only read"),
        ("expired", "alice/tiny-GGUF", "refused your token"),
        ("alice", "bob/tiny-GGUF", "may not write to bob"),
        (None, "alice/tiny-GGUF", "no Hub token to push with"),
    ],
)
def test_a_push_that_could_not_work_is_refused_before_anything_is_made(
    user: str | None, repo: str, sentence: str, local: Cli, demo_hub: LoopbackHub
) -> None:
    someone = logged_in(local, demo_hub, user)
    assert sentence in refused(someone("quantize-gguf", "g.yaml", "--push", repo, "-o", "out"), demo_hub)


@pytest.mark.parametrize("name", ["tiny.Q4_K_M.gguf", "model.safetensors"])
def test_a_target_that_holds_weights_of_others_needs_force(
    name: str, local: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    demo_hub.repo("alice/taken").add_files({name: family.base / "model.safetensors"})
    demo_hub.clear_requests()
    stderr = refused(local("quantize-gguf", "g.yaml", "--push", "alice/taken", "-o", "out"), demo_hub)
    assert "alice/taken@main holds" in stderr and "--force" in stderr


def test_a_public_repository_does_not_get_what_was_to_be_private(local: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.repo("alice/open").add_files({"notes.txt": b"mine"})
    stderr = refused(local("quantize-gguf", "g.yaml", "--push", "alice/open", "--private"), demo_hub)
    assert "is public, but private was asked for" in stderr


def test_all_problems_are_shown_at_once(alice: Cli, demo_hub: LoopbackHub, family: Family) -> None:
    write_config(alice.folder, model=str(family.base), types=["Q4_KM", "IQ1_S"], tensor_types={"a": "Q9"})
    (alice.folder / "short.txt").write_text("word")
    stderr = refused(alice("quantize-gguf", "g.yaml", "imatrix=none", "quality.text=short.txt"), demo_hub, 2)
    # How many tokens the text has, the converter is not asked before the names are right.
    assert stderr.count("error: ") == 3


def test_offline_says_what_is_not_cached(alice: Cli, demo_hub: LoopbackHub) -> None:
    missing = alice("quantize-gguf", USUAL, env={"HF_HUB_OFFLINE": "1"})
    assert missing.exit_code == 4 and "not in the local cache" in missing.stderr
