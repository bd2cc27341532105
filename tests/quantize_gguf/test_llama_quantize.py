"""Quantization: sizes are as foretold, results are of use, and every refusal is a sentence."""

import filecmp
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.progress import Advanced
from llmcourse.quantize_gguf.llama.gguf_file import GgufFile, type_name, type_numbers
from llmcourse.quantize_gguf.llama.imatrix_file import Entry, Imatrix, read_imatrix
from llmcourse.testing.models import Family, build_random_llama
from tests.quantize_gguf.conftest import Converted, Llama

WITHOUT_IMATRIX = ["Q8_0", "Q6_K", "Q4_K_M", "Q2_K", "IQ4_XS", "F16", "F32"]
MORE = ["BF16", "Q5_K_M", "Q3_K_M", "Q4_0", "TQ2_0", "Q1_0", "IQ3_M", "MXFP4_MOE"]  # as slow tests
WITH_IMATRIX = ["IQ2_XS", "IQ1_M", "Q2_K_S"]


@pytest.fixture(scope="session")
def imatrix(trained_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An importance matrix of the trained model with made-up values."""
    tensors = [tensor for tensor in GgufFile(trained_gguf).tensors if tensor.name.startswith("blk.")]
    matrices = [tensor for tensor in tensors if tensor.ne[1] > 1]
    generator = np.random.default_rng(0)
    entries = {
        tensor.name: Entry(
            generator.gamma(1.0, 100.0, (1, tensor.ne[0])).astype(np.float32),
            np.array([100], np.float32),
        )
        for tensor in matrices
    }
    path = tmp_path_factory.mktemp("imatrix") / "imatrix.gguf"
    Imatrix(entries, ("calibration.txt",), 2, 50).write(path)
    return path


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: type_name(tensor.type) for tensor in GgufFile(path).tensors}


@contextmanager
def largest_file(nbytes: int) -> Iterator[None]:
    """Processes that start in the block fail to write more, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kind", WITHOUT_IMATRIX)
def test_a_file_has_the_size_that_the_dry_run_said_and_generates(
    llama: Llama, trained_gguf: Path, kind: str
) -> None:
    foretold = llama.quantize(trained_gguf, kind, "dry", dry_run=True)
    assert foretold.files == ()
    made = llama.quantize(trained_gguf, kind)
    [file] = made.files
    assert foretold.result["files"] == [{"path": file.path, "size": file.size}]
    assert made.paths[0].stat().st_size == foretold.result["size_bytes"]
    assert list((llama.folder / kind / "scratch").iterdir()) == [
        llama.folder / kind / "scratch" / "result.json"
    ]
    assert len(llama.generate(made.paths[0], kind)) > 5


@pytest.mark.parametrize(
    "kind", ["Q2_K_S", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("IQ2_XS", "IQ1_M"))]
)
def test_types_of_very_few_bits_are_made_with_an_imatrix(
    llama: Llama, trained_gguf: Path, imatrix: Path, kind: str
) -> None:
    made = llama.quantize(trained_gguf, kind, imatrix=str(imatrix), imatrix_name="imatrix.gguf")
    assert made.files[0].size == made.result["size_bytes"]
    assert (made.result["pinned"], made.result["unweighted"]) == ([], [])
    gguf = GgufFile(made.paths[0])
    keys = ("file", "dataset", "entries_count", "chunks_count")
    assert [gguf.value(f"quantize.imatrix.{key}") for key in keys] == [
        "imatrix.gguf",
        "calibration.txt",
        28,
        2,
    ]
    llama.generate(made.paths[0], kind)


def test_bits_per_weight_fall_with_the_type(llama: Llama, trained_gguf: Path) -> None:
    kinds = ["BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"]
    bits = [llama.quantize(trained_gguf, kind, dry_run=True).result["bits_per_weight"] for kind in kinds]
    assert bits == sorted(bits, reverse=True)
    assert 8.5 < bits[1] < 8.6


def test_the_number_of_threads_changes_no_byte(llama: Llama, trained_gguf: Path) -> None:
    one = llama.quantize(trained_gguf, "Q4_K_M", "one", threads=1).files[0]
    two = llama.quantize(trained_gguf, "Q4_K_M", "two", threads=2).files[0]
    assert one == two


def test_progress_ends_with_every_byte_of_the_source(llama: Llama, trained_gguf: Path) -> None:
    made = llama.quantize(trained_gguf, "Q8_0")
    done = [event.done for event in made.events if isinstance(event, Advanced)]
    assert done == sorted(done)
    assert done[-1] == sum(tensor.nbytes for tensor in GgufFile(trained_gguf).tensors)


def test_tensor_types_decide_and_the_first_pattern_wins(llama: Llama, trained_gguf: Path) -> None:
    wishes = {"ATTN_V": "q8_0", r"blk\.1\.": "F16", "blk": "q5_k"}
    made = types_of(llama.quantize(trained_gguf, "Q4_K_M", tensor_types=wishes).paths[0])
    assert {kind for name, kind in made.items() if "attn_v" in name} == {"q8_0"}
    assert made["blk.1.ffn_up.weight"] == "f16"
    assert made["blk.2.ffn_up.weight"] == "q5_K"


def test_an_unknown_tensor_type_is_refused(llama: Llama, trained_gguf: Path) -> None:
    with pytest.raises(PlanError, match="'Q9_9' is no type of a tensor") as caught:
        llama.quantize(trained_gguf, "Q4_K_M", tensor_types={"attn_v": "Q9_9"}, dry_run=True)
    assert "Q6_K" in caught.value.fix


def test_an_unknown_file_type_is_refused(llama: Llama, trained_gguf: Path) -> None:
    with pytest.raises(PlanError, match="has no type Q9_K"):
        llama.quantize(trained_gguf, "Q9_K", dry_run=True)


@pytest.mark.parametrize("kind", ["IQ1_S", "IQ3_XXS", "Q2_K_S"])
def test_without_an_imatrix_the_tensors_that_need_it_are_named(
    llama: Llama, trained_gguf: Path, kind: str
) -> None:
    foretold = llama.quantize(trained_gguf, kind, dry_run=True)
    assert "blk.0.ffn_up.weight" in foretold.result["requires_imatrix"]
    with pytest.raises(PlanError, match=f"{kind} needs an importance matrix, for blk.0"):
        llama.quantize(trained_gguf, kind)
    assert list(foretold.folder.iterdir()) == []


@pytest.fixture
def half_imatrix(imatrix: Path, tmp_path: Path) -> Path:
    """What is measured on a model that has fewer layers: a merge by passthrough has more."""
    whole = read_imatrix(imatrix)
    kept = {name: entry for name, entry in whole.entries.items() if not name.startswith(("blk.2.", "blk.3."))}
    replace(whole, entries=kept).write(tmp_path / "half.gguf")
    return tmp_path / "half.gguf"


def test_tensors_that_the_imatrix_lacks_are_kept_better_and_named(
    llama: Llama, trained_gguf: Path, half_imatrix: Path
) -> None:
    made = llama.quantize(trained_gguf, "IQ2_XS", imatrix=str(half_imatrix))
    types = types_of(made.paths[0])
    assert {name.split(".")[1] for name in made.result["pinned"]} == {"2", "3"}
    assert {types[name] for name in made.result["pinned"]} == {"q5_K"}
    assert types["blk.1.ffn_up.weight"] == "iq2_xs"
    assert "no entry for blk.2.attn_k.weight, " in made.notes
    assert "would be garbage without one, so they are kept in Q5_K" in made.notes
    assert made.files[0].size == made.result["size_bytes"]


def test_types_that_do_without_weights_say_which_tensors_have_none(
    llama: Llama, trained_gguf: Path, half_imatrix: Path
) -> None:
    made = llama.quantize(trained_gguf, "Q4_K_M", imatrix=str(half_imatrix))
    assert made.result["pinned"] == []
    assert len(made.result["unweighted"]) == 14
    assert "quantized without weights" in made.notes


def test_an_imatrix_of_another_model_is_refused(
    llama: Llama, trained_gguf: Path, imatrix: Path, tmp_path: Path
) -> None:
    whole = read_imatrix(imatrix)
    short = Entry(np.ones((1, 64), np.float32), np.array([5], np.float32))
    replace(whole, entries=dict.fromkeys(whole.entries, short)).write(tmp_path / "other.gguf")
    with pytest.raises(PlanError, match=r"64 values for blk\.0\.attn_k\.weight, which has 256"):
        llama.quantize(trained_gguf, "Q4_K_M", imatrix=str(tmp_path / "other.gguf"), dry_run=True)


def test_shards_load_and_say_what_the_whole_says(llama: Llama, trained_gguf: Path) -> None:
    whole = llama.quantize(trained_gguf, "Q4_K_M", "whole")
    split = llama.quantize(trained_gguf, "Q4_K_M", "split", split=700_000)
    names = [f"model.Q4_K_M-{number:05d}-of-00004.gguf" for number in range(1, 5)]
    assert [path.name for path in split.paths] == names
    assert [file["path"] for file in split.result["files"]] == names
    assert [path.stat().st_size for path in split.paths] == [file["size"] for file in split.result["files"]]
    assert {name: kind for path in split.paths for name, kind in types_of(path).items()} == types_of(
        whole.paths[0]
    )
    assert llama.generate(split.paths[0], "Q4_K_M") == llama.generate(whole.paths[0], "Q4_K_M")


def test_a_file_that_fits_is_not_split(llama: Llama, trained_gguf: Path) -> None:
    made = llama.quantize(trained_gguf, "Q4_K_M", split=10**9)
    assert [path.name for path in made.paths] == ["model.Q4_K_M.gguf"]
    assert made.files == llama.quantize(trained_gguf, "Q4_K_M", "plain").files


def test_a_missing_shard_is_a_sentence(llama: Llama, trained_gguf: Path) -> None:
    split = llama.quantize(trained_gguf, "Q4_K_M", split=700_000)
    split.paths[2].unlink()
    with pytest.raises(LibraryError, match=r"could not load model\.Q4_K_M-00001-of-00004\.gguf"):
        llama.generate(split.paths[0])


@pytest.mark.parametrize("split", [0, 700_000])
def test_a_full_disk_is_said_and_nothing_half_is_left(llama: Llama, trained_gguf: Path, split: int) -> None:
    with largest_file(600_000), pytest.raises(PlanError, match=r"the disk is full|File too large"):
        llama.quantize(trained_gguf, "Q4_K_M", "full", split=split)
    assert list((llama.folder / "full" / "files").iterdir()) == []
    assert [path.name for path in (llama.folder / "full" / "scratch").iterdir()] == ["result.json"]
    assert llama.quantize(trained_gguf, "Q4_K_M", "full").files[0].size == 2_192_576


def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_makes_it(
    llama: Llama, trained_gguf: Path
) -> None:
    settings: dict[str, Any] = {
        "source": str(trained_gguf), "type": "IQ4_XS", "name": "model.gguf", "threads": 1, "imatrix": None,
        "tensor_types": {}, "split": 0, "dry_run": False,
    }  # fmt: skip
    with closing(llama.messages("quantize", settings, "killed")) as messages:
        for message in messages:
            if isinstance(message, Advanced) and message.done > 1_000_000:
                break
    assert list((llama.folder / "killed" / "files").iterdir()) == []
    assert (llama.folder / "killed" / "scratch" / "model.gguf.partial").exists()
    again = llama.run("quantize", settings, "killed")
    fresh = llama.run("quantize", settings, "fresh")
    assert again.files == fresh.files
    assert not (llama.folder / "killed" / "scratch" / "model.gguf.partial").exists()


def test_a_source_that_is_no_gguf_is_refused(llama: Llama, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    with pytest.raises(PlanError, match="not a whole GGUF file: invalid magic"):
        llama.quantize(tmp_path / "text.gguf", "Q8_0")


def test_a_quantized_source_is_not_quantized_again(llama: Llama, trained_gguf: Path) -> None:
    made = llama.quantize(trained_gguf, "Q8_0")
    with pytest.raises(LibraryError, match="could not quantize to Q4_K_M: requantizing from type q8_0"):
        llama.quantize(made.paths[0], "Q4_K_M")
    assert list((llama.folder / "Q4_K_M" / "files").iterdir()) == []


@pytest.fixture
def huge_weights(trained_gguf: Path, tmp_path: Path) -> Path:
    """Weights whose squares are beyond 32 bits, as of a training that went astray."""
    path = tmp_path / "huge.gguf"
    shutil.copy(trained_gguf, path)
    tensor = next(tensor for tensor in GgufFile(path).tensors if tensor.name == "blk.0.ffn_up.weight")
    data = np.memmap(path, np.uint16, "r+", tensor.offset, (tensor.nbytes // 2,))
    data[:], data[::2] = 0x7F00, 0xFF00
    data.flush()
    return path


def test_an_abort_of_the_library_is_an_error_of_ours(llama: Llama, huge_weights: Path, imatrix: Path) -> None:
    with pytest.raises(LibraryError, match="ended with SIGABRT"):
        llama.quantize(huge_weights, "IQ3_XXS", imatrix=str(imatrix))
    assert "GGML_ASSERT" in (llama.folder / "IQ3_XXS" / "log.txt").read_text()
    assert list((llama.folder / "IQ3_XXS" / "files").iterdir()) == []


def test_what_the_library_refuses_is_quoted(llama: Llama, huge_weights: Path) -> None:
    with pytest.raises(LibraryError, match="quantize to Q4_K_M: quantized data validation failed"):
        llama.quantize(huge_weights, "Q4_K_M")
    assert [path.name for path in (llama.folder / "Q4_K_M" / "scratch").iterdir()] == ["result.json"]


def test_a_file_that_says_another_type_is_refused(llama: Llama, trained_gguf: Path) -> None:
    with pytest.raises(LibraryError, match="says it is BF16, not Q8_0"):
        llama.generate(trained_gguf, "Q8_0")


def test_a_model_that_computes_no_numbers_is_refused(llama: Llama, huge_weights: Path) -> None:
    with pytest.raises(LibraryError, match="values that are not numbers"):
        llama.generate(huge_weights)


def test_types_of_tensors_are_those_of_the_library() -> None:
    numbers = type_numbers()
    assert {"F32", "BF16", "Q4_K", "IQ2_XXS", "TQ1_0"} <= set(numbers)
    assert all(type_name(number).upper() == name for name, number in numbers.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*WITHOUT_IMATRIX, *MORE])
def test_results_are_those_of_llama_quantize(
    llama: Llama, trained_gguf: Path, tools: Path, tmp_path: Path, kind: str
) -> None:
    made = llama.quantize(trained_gguf, kind)
    theirs = llama_quantize(tools, tmp_path, [], trained_gguf, kind)
    assert filecmp.cmp(made.paths[0], theirs, shallow=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*WITH_IMATRIX, "IQ3_XXS", "Q4_K_M"])
def test_results_with_an_imatrix_are_those_of_llama_quantize(
    llama: Llama, trained_gguf: Path, imatrix: Path, tools: Path, tmp_path: Path, kind: str
) -> None:
    made = llama.quantize(trained_gguf, kind, imatrix=str(imatrix), tensor_types={"ATTN_V": "q8_0"})
    options = ["--imatrix", str(imatrix), "--tensor-type", "ATTN_V=q8_0"]
    assert filecmp.cmp(
        made.paths[0], llama_quantize(tools, tmp_path, options, trained_gguf, kind), shallow=False
    )


@pytest.mark.slow
def test_shards_are_those_of_llama_gguf_split(
    llama: Llama, trained_gguf: Path, tools: Path, tmp_path: Path
) -> None:
    whole = llama.quantize(trained_gguf, "Q4_K_M", "whole").paths[0]
    command = [
        tools / "llama-gguf-split",
        "--split",
        "--split-max-size",
        "1M",
        whole,
        tmp_path / "model.Q4_K_M",
    ]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    split = llama.quantize(trained_gguf, "Q4_K_M", "split", split=1_000_000)
    assert len(split.paths) == 3
    assert all(filecmp.cmp(path, tmp_path / path.name, shallow=False) for path in split.paths)


def llama_quantize(tools: Path, folder: Path, options: list[str], source: Path, kind: str) -> Path:
    out = folder / "theirs.gguf"
    command = [tools / "llama-quantize", *options, source, out, kind, "2"]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    return out


def test_rows_that_do_not_fit_a_type_are_counted(llama: Llama, converted: Converted, family: Family) -> None:
    """K types want rows of multiples of 256, these have 96 and 160."""
    shape: dict[str, Any] = {"hidden": 96, "intermediate": 160, "tokenizer_from": family.base}
    narrow = converted("narrow", lambda folder: build_random_llama(folder, **shape))
    result = llama.quantize(narrow, "Q2_K", dry_run=True).result
    log = (llama.folder / "Q2_K" / "log.txt").read_text()
    assert f"{sum(result['fallbacks'].values())} of {result['tensors']} tensor(s) required fallback" in log
    assert result["fallbacks"]["Q2_K → Q4_0"] > 0


def test_mxfp4_stays_what_it_is_in_every_type(llama: Llama, mixture_gguf: Path) -> None:
    others = {"attn|token_embd|output|gate_inp": "F16"}
    published = llama.quantize(mixture_gguf, "MXFP4_MOE", "published", tensor_types=others)
    made = llama.quantize(published.paths[0], "Q8_0")
    experts = [tensor for tensor in GgufFile(made.paths[0]).tensors if "_exps" in tensor.name]
    assert experts and {type_name(tensor.type) for tensor in experts} == {"mxfp4"}
    assert made.result["kept"] == {"MXFP4": len(experts)}
    assert llama.generate(made.paths[0], "Q8_0")
