"""BPE tokenizers that the converter does not know get the pre-tokenizer that splits as they do."""

import ctypes
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import pytest
from filelock import FileLock
from tokenizers import Tokenizer

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.quantize_gguf.converter.pre_tokenizer import pre_tokenizer_groups, tried
from tests.quantize_gguf.conversions import Conversions, build_bpe_model, converter_folder, running

Bpe = Callable[[str], Path]
TEXT = "It's 1234 words,\n\n  DON'T   count them: наш 世界 🙂!!!\n"


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    with running(tmp_path_factory.mktemp("converter")) as process:
        yield process


@pytest.fixture(scope="session")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Bpe:
    root = tmp_path_factory.mktemp("bpe")

    def build(pattern: str) -> Path:
        with FileLock(root / f"{pattern}.lock"):
            if not (root / pattern).is_dir():
                build_bpe_model(root / pattern, pattern)
        return root / pattern

    return build


def llama_cpp_ids(gguf: Path, text: str, add_special: bool = False) -> list[int]:
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), params)
    assert model
    vocab = llama_cpp.llama_model_get_vocab(model)
    assert vocab
    tokens = (ctypes.c_int32 * 500)()
    data = text.encode()
    count = llama_cpp.llama_tokenize(vocab, data, len(data), tokens, 500, add_special, False)
    llama_cpp.llama_model_free(model)
    return tokens[:count]


@pytest.mark.parametrize("pattern", ["gpt-2", "llama-bpe"])
def test_an_unknown_tokenizer_is_matched(pattern: str, conversions: Conversions, bpe: Bpe) -> None:
    found = conversions.run("examine", bpe(pattern))["pre_tokenizer"]
    assert (found["name"], found["how"], found["matches"]) == (pattern, "matched", True)
    assert found["candidates"][0] == pattern and len(found["candidates"]) > 5
    conversions.run("convert", bpe(pattern))
    expected = Tokenizer.from_file(str(bpe(pattern) / "tokenizer.json")).encode(TEXT).ids
    assert llama_cpp_ids(conversions.converted, TEXT) == expected
    # Under the name llama-bpe llama.cpp would add a BOS token by itself; this tokenizer adds none.
    assert llama_cpp_ids(conversions.converted, TEXT, add_special=True) == expected


def test_a_known_hash_is_no_proof(bpe: Bpe, tmp_path: Path) -> None:
    """A tokenizer that lost its splitting of digits when it was saved anew keeps the hash of its ids."""
    with running(tmp_path) as process:
        process.run("examine", bpe("gpt-2"))
        (sha256,) = set(re.findall(r"chkhsh:\s+([0-9a-f]{64})", process.log))
    taught = shutil.copytree(converter_folder(), tmp_path / "llama.cpp")
    code = (taught / "conversion" / "base.py").read_text()
    known = f'        res = None\n        if chkhsh == "{sha256}":\n            res = "smollm"\n'
    assert code.count("        res = None\n") == 1
    (taught / "conversion" / "base.py").write_text(code.replace("        res = None\n", known))
    with running(tmp_path, taught) as process:
        found = process.run("examine", bpe("gpt-2"))["pre_tokenizer"]
    assert (found["name"], found["how"], found["instead_of"]) == ("gpt-2", "matched", "smollm")
    assert "12" in found["differs"]


def test_the_name_found_while_planning_gives_the_same_file(
    conversions: Conversions, bpe: Bpe, tmp_path: Path
) -> None:
    conversions.run("examine", bpe("llama-bpe"))
    conversions.run("convert", bpe("llama-bpe"))
    expected = conversions.made
    with running(tmp_path) as resumed:
        resumed.run("convert", bpe("llama-bpe"), pre_tokenizer="llama-bpe")
    assert resumed.made == expected


def test_one_that_splits_as_nobody_does_is_refused(conversions: Conversions, bpe: Bpe) -> None:
    with pytest.raises(
        PlanError, match=r"splits text as this model's tokenizer does \(60 were tried\)"
    ) as refusal:
        conversions.run("examine", bpe("strange"))
    assert "pre_tokenizer: NAME" in refusal.value.fix
    assert not list(conversions.scratch.glob("trial-*"))


@pytest.mark.parametrize(("name", "matches"), [("gpt-2", True), ("llama-bpe", False), ("default", False)])
def test_a_given_name_is_used_and_checked(
    name: str, matches: bool, conversions: Conversions, bpe: Bpe
) -> None:
    found = conversions.run("examine", bpe("gpt-2"), pre_tokenizer=name)["pre_tokenizer"]
    assert (found["name"], found["matches"]) == (name, matches)
    assert conversions.run("examine", bpe("gpt-2"))["pre_tokenizer"]["how"] == "matched"


def test_a_name_that_llama_cpp_does_not_know_is_refused(conversions: Conversions, bpe: Bpe) -> None:
    with pytest.raises(PlanError, match="knows no pre-tokenizer 'gpt2'") as refusal:
        conversions.run("examine", bpe("gpt-2"), pre_tokenizer="gpt2")
    assert refusal.value.fix == "Did you mean gpt-2?"


def test_an_abort_costs_one_name_and_no_more(
    conversions: Conversions, bpe: Bpe, capfd: pytest.CaptureFixture[str]
) -> None:
    conversions.run("convert", bpe("gpt-2"), pre_tokenizer="gpt-2")
    text = "a b c\n\n zz é"
    ids = Tokenizer.from_file(str(bpe("gpt-2") / "tokenizer.json")).encode(text).ids
    names = ["no-such-name", "whitespace", "whitespace", "mpt", "gpt-2"]
    task = conversions.scratch / "task.json"
    found = tried(conversions.converted, names, [text], [ids], task)
    assert found == {"no-such-name": 0, "mpt": None}
    assert tried(conversions.converted, ["whitespace"], [text], [ids], task) == {}
    assert "GGML_ASSERT" in capfd.readouterr().err, "nothing aborted, so nothing was shown"


@pytest.mark.slow
def test_names_come_from_llama_cpp_itself(tmp_path: Path) -> None:
    groups = pre_tokenizer_groups(converter_folder())
    names = [name for group in groups for name in group]
    assert groups[0][0] == "gpt-2" and groups[1][0] == "llama-bpe"
    assert len(names) == len(set(names)) > 80
    for file in ("src/llama-vocab.cpp", "conversion/base.py"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("// rewritten")
    with pytest.raises(LibraryError, match="not understood"):
        pre_tokenizer_groups(tmp_path)
