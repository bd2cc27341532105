"""The importance matrix: what is measured, what is written, and what it is good for."""

import struct
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmcourse.core.errors import PlanError
from llmcourse.core.progress import Advanced
from llmcourse.quantize_gguf.llama.imatrix_file import Entry, Imatrix, read_imatrix
from llmcourse.quantize_gguf.llama.tensor import check_layout
from llmcourse.testing.models import Family
from tests.quantize_gguf.conftest import Done, Llama
from tests.quantize_gguf.mixture import EXPERTS, UNREACHABLE

CONTEXT = 128
CHUNKS = 10


def settings_for(source: Path, text: Path, **more: Any) -> dict[str, Any]:
    defaults = {"chunks": CHUNKS, "context": CONTEXT, "threads": 2, "name": "imatrix.gguf"}
    return {"source": str(source), "text": str(text)} | defaults | more


@pytest.fixture(scope="module")
def measured(trained_gguf: Path, texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Done:
    llama = Llama(tmp_path_factory.mktemp("imatrix"))
    return llama.run("imatrix", settings_for(trained_gguf, texts["calibration"]))


def test_every_linear_layer_has_an_entry_and_every_token_counts(measured: Done) -> None:
    matrix = read_imatrix(measured.paths[0])
    layers = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert set(matrix.entries) == {f"blk.{index}.{layer}.weight" for index in range(4) for layer in layers}
    assert {float(entry.counts[0]) for entry in matrix.entries.values()} == {CHUNKS * CONTEXT}
    assert matrix.entries["blk.0.ffn_down.weight"].sums.shape == (1, 512)
    assert (matrix.datasets, matrix.chunk_count, matrix.chunk_size) == (("calibration.txt",), CHUNKS, CONTEXT)
    assert measured.result == {"chunks": CHUNKS, "context": CONTEXT, "entries": 28, "never_chosen": {}}
    assert measured.notes == ""


def test_sums_are_those_that_torch_sees_in_the_original_model(
    measured: Done, family: Family, texts: dict[str, Path]
) -> None:
    from sentencepiece import SentencePieceProcessor

    tokenizer = SentencePieceProcessor(str(family.base / "tokenizer.model"))
    ids = [1, *tokenizer.encode(texts["calibration"].read_text())][: CHUNKS * CONTEXT]
    windows = torch.tensor(ids).reshape(CHUNKS, CONTEXT)
    windows[:, 0] = 1
    model = AutoModelForCausalLM.from_pretrained(family.base, dtype=torch.float32)
    sums: dict[str, Any] = {}
    for index, layer in enumerate(model.model.layers):
        for name, linear in (("ffn_gate", layer.mlp.gate_proj), ("ffn_down", layer.mlp.down_proj)):

            def keep(_: Any, inputs: Any, key: str = f"blk.{index}.{name}.weight") -> None:
                sums[key] = inputs[0].double().square().sum(dim=(0, 1)).numpy()

            linear.register_forward_pre_hook(keep)
    with torch.no_grad():
        model(windows)
    matrix = read_imatrix(measured.paths[0])
    for name, expected in sums.items():
        # llama.cpp rounds activations to bfloat16 before it multiplies with such weights.
        assert matrix.entries[name].sums[0] == pytest.approx(expected, rel=0.05), name
        assert matrix.entries[name].sums.sum() == pytest.approx(expected.sum(), rel=0.005), name


def test_experts_are_counted_by_themselves_and_those_never_chosen_are_named(
    llama: Llama, mixture_gguf: Path, texts: dict[str, Path]
) -> None:
    done = llama.run("imatrix", settings_for(mixture_gguf, texts["calibration"]))
    matrix = read_imatrix(done.paths[0])
    for layer in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
        entry = matrix.entries[f"blk.1.{layer}.weight"]
        assert entry.sums.shape == (EXPERTS, 256)
        assert entry.counts.sum() == 2 * CHUNKS * CONTEXT
        assert list(np.flatnonzero(entry.counts == 0)) == UNREACHABLE
        assert (entry.means.reshape(EXPERTS, -1)[UNREACHABLE] == 1).all()
    assert done.result["never_chosen"]["blk.0.ffn_up_exps.weight"] == UNREACHABLE
    assert len(done.result["never_chosen"]) == 6
    assert "blk.0.ffn_gate_exps.weight 6, 7" in done.notes


@pytest.mark.slow
def test_a_mixture_with_unreached_experts_is_quantized(
    llama: Llama, mixture_gguf: Path, texts: dict[str, Path]
) -> None:
    matrix = llama.run("imatrix", settings_for(mixture_gguf, texts["calibration"])).paths[0]
    made = llama.quantize(mixture_gguf, "IQ2_XS", imatrix=str(matrix))
    assert (made.result["pinned"], made.result["unweighted"]) == ([], [])
    llama.generate(made.paths[0], "IQ2_XS")


@pytest.mark.slow
def test_a_killed_measurement_goes_on_and_ends_with_the_same_bytes(
    llama: Llama, trained_gguf: Path, texts: dict[str, Path]
) -> None:
    settings = settings_for(trained_gguf, texts["calibration"], chunks=60)
    with closing(llama.messages("imatrix", settings, "killed")) as messages:
        for message in messages:
            if isinstance(message, Advanced) and message.done >= 20:
                break
    assert list((llama.folder / "killed" / "files").iterdir()) == []
    assert (llama.folder / "killed" / "scratch" / "imatrix-sums.npz").exists()
    again = llama.run("imatrix", settings, "killed")
    first = next(event for event in again.events if isinstance(event, Advanced))
    assert first.done > 0
    assert again.files == llama.run("imatrix", settings, "fresh").files


@pytest.mark.slow
def test_sums_of_another_text_are_not_taken_up(
    llama: Llama, trained_gguf: Path, texts: dict[str, Path]
) -> None:
    llama.run("imatrix", settings_for(trained_gguf, texts["held-out"]))
    again = llama.run("imatrix", settings_for(trained_gguf, texts["calibration"]))
    fresh = llama.run("imatrix", settings_for(trained_gguf, texts["calibration"]), "fresh")
    assert again.files == fresh.files


def test_a_text_that_is_too_short_is_refused(llama: Llama, trained_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("A few words.\n")
    with pytest.raises(PlanError, match=r"has \d+ tokens of this model, and 256 are needed"):
        llama.run("imatrix", settings_for(trained_gguf, tmp_path / "short.txt"))


@pytest.mark.parametrize(
    ("model", "kind"),
    [pytest.param("outliers_gguf", "Q2_K", marks=pytest.mark.slow), ("trained_gguf", "IQ3_S")],
)
def test_an_imatrix_brings_few_bits_nearer_to_the_original_on_other_text(
    llama: Llama, texts: dict[str, Path], model: str, kind: str, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(model)

    def settings(task: str, path: Path) -> dict[str, Any]:
        return {"task": task, "source": str(path), "text": str(texts["held-out"]), "chunks": 20,
                "context": 256, "threads": 2, "base": str(llama.folder / "base")}  # fmt: skip

    matrix = llama.run("imatrix", settings_for(source, texts["calibration"], chunks=60)).paths[0]
    plain = llama.quantize(source, kind, "plain").paths[0]
    weighted = llama.quantize(source, kind, "weighted", imatrix=str(matrix)).paths[0]
    llama.run("quality", settings("base", source))
    without = llama.run("quality", settings("compare", plain), "without").result["mean_kld"]
    with_it = llama.run("quality", settings("compare", weighted), "with").result["mean_kld"]
    assert with_it < 0.95 * without


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = {
        "blk.0.attn_q.weight": Entry(np.arange(8, dtype="f4").reshape(1, 8), np.array([4], "f4")),
        "blk.0.ffn_up_exps.weight": Entry(np.ones((3, 5), "f4"), np.array([2, 0, 7], "f4")),
    }
    Imatrix(entries, ("a.txt", "b.txt"), 9, 512).write(tmp_path / "imatrix.gguf")
    found = read_imatrix(tmp_path / "imatrix.gguf")
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("a.txt", "b.txt"), 9, 512)
    assert set(found.entries) == set(entries)
    for name, entry in entries.items():
        assert np.array_equal(found.entries[name].sums, entry.sums)
        assert np.array_equal(found.entries[name].counts, entry.counts)
    assert found.never_chosen == {"blk.0.ffn_up_exps.weight": [1]}


def old_format(tail: bytes) -> bytes:
    name = b"blk.0.attn_q.weight"
    head = struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 2, 3)
    return head + struct.pack("<3f", 2, 4, 6) + tail


@pytest.mark.parametrize("tail", [b"", struct.pack("<ii", 7, 8) + b"text.txt"])
def test_the_old_format_is_read(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "imatrix.dat").write_bytes(old_format(tail))
    found = read_imatrix(tmp_path / "imatrix.dat")
    assert list(found.entries["blk.0.attn_q.weight"].means) == [1, 2, 3]
    assert (found.datasets, found.chunk_count) == ((("text.txt",), 7) if tail else ((), 0))


@pytest.mark.parametrize(
    "content",
    [b"", b"GGUF", b"some text that is no matrix", old_format(b"")[:30], struct.pack("<i", 0)],
    ids=["empty", "head alone", "text", "cut short", "no entries"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "imatrix.dat").write_bytes(content)
    with pytest.raises(PlanError):
        read_imatrix(tmp_path / "imatrix.dat")


def test_a_model_is_no_imatrix(trained_gguf: Path) -> None:
    with pytest.raises(PlanError, match="it lacks the keys of one"):
        read_imatrix(trained_gguf)


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    entry = Entry(np.full((1, 4), np.nan, "f4"), np.array([1], "f4"))
    Imatrix({"blk.0.attn_q.weight": entry}, ("a.txt",), 1, 512).write(tmp_path / "nan.gguf")
    with pytest.raises(PlanError, match="not numbers"):
        read_imatrix(tmp_path / "nan.gguf")


def test_the_layout_of_tensors_is_that_of_the_library() -> None:
    check_layout()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["trained_gguf", "mixture_gguf"])
def test_sums_are_those_of_llama_imatrix(
    llama: Llama, texts: dict[str, Path], tools: Path, tmp_path: Path, model: str, request: Any
) -> None:
    source = request.getfixturevalue(model)
    # With 512 tokens the tool, too, runs one window at a time.
    ours = read_imatrix(
        llama.run("imatrix", settings_for(source, texts["calibration"], context=512)).paths[0]
    )
    options = ["-f", texts["calibration"], "-c", 512, "--chunks", CHUNKS, "-t", 2, "--no-ppl"]
    command = [tools / "llama-imatrix", "-m", source, "-o", tmp_path / "theirs.gguf", *options]
    subprocess.run([*map(str, command)], check=True, capture_output=True)
    theirs = read_imatrix(tmp_path / "theirs.gguf")
    assert ours.entries.keys() == theirs.entries.keys()
    for name, entry in theirs.entries.items():
        assert np.array_equal(ours.entries[name].counts, entry.counts)
        assert ours.entries[name].sums == pytest.approx(entry.sums, rel=1e-3)
