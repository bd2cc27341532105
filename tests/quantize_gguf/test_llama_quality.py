"""Perplexity and divergence: the figures mean something, resume, and are llama-perplexity's."""

import re
import subprocess
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmcourse.core.errors import LibraryError, PlanError
from llmcourse.core.progress import Advanced
from llmcourse.quality.divergence import compare, pack
from llmcourse.quality.sizes import base_bytes, row_entries, scored_tokens
from tests.quantize_gguf.conftest import Done, Llama

CONTEXT = 256
CHUNKS = 12


def settings_for(task: str, source: Path, text: Path, base: Path, chunks: int = CHUNKS) -> dict[str, Any]:
    return {
        "task": task,
        "source": str(source),
        "text": str(text),
        "chunks": chunks,
        "context": CONTEXT,
        "threads": 2,
        "base": str(base),
    }


@pytest.fixture(scope="module")
def held_out(texts: dict[str, Path]) -> Path:
    return texts["held-out"]


@pytest.fixture(scope="module")
def measured(trained_gguf: Path, held_out: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """The unquantized model under "base", and types with fewer and fewer bits."""
    llama = Llama(tmp_path_factory.mktemp("measured"))
    done = {"base": llama.run("quality", settings_for("base", trained_gguf, held_out, llama.folder / "base"))}
    for kind in ("BF16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K"):
        path = llama.quantize(trained_gguf, kind).paths[0]
        settings = settings_for("compare", path, held_out, llama.folder / "base")
        done[kind] = llama.run("quality", settings, f"compare {kind}")
    return done


def test_perplexity_is_of_a_model_that_has_learned(measured: dict[str, Done]) -> None:
    base = measured["base"].result
    assert 20 < base["perplexity"] < 300  # of 2,048 tokens
    assert 0 < base["perplexity_error"] < 0.1 * base["perplexity"]
    assert (base["chunks"], base["context"], base["tokens"]) == (CHUNKS, CONTEXT, CHUNKS * 127)


def test_fewer_bits_are_farther_from_the_original(measured: dict[str, Done]) -> None:
    rows = [measured[kind].result for kind in ("BF16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K")]
    for figure in ("mean_kld", "kld_99"):
        values = [row[figure] for row in rows]
        assert values == sorted(values)
    agreement = [row["same_top"] for row in rows]
    assert agreement == sorted(agreement, reverse=True)
    assert rows[0]["mean_kld"] < 1e-6  # 16 bits of a probability are all that is lost
    assert rows[-1]["mean_kld"] > 1e-3
    assert all(row["mean_kld"] < row["kld_99"] <= row["max_kld"] for row in rows)
    assert [row["base_perplexity"] for row in rows] == pytest.approx(
        [measured["base"].result["perplexity"]] * len(rows), rel=1e-5
    )


def test_the_disk_that_is_taken_is_the_disk_that_was_planned(
    measured: dict[str, Done], trained_gguf: Path
) -> None:
    folder = measured["base"].folder.parent.parent / "base"
    taken = sum(path.stat().st_size for path in folder.glob("*.rows.npy"))
    assert taken - CHUNKS * 128 == base_bytes(2048, CHUNKS, CONTEXT)  # numpy's head is 128 bytes


def test_a_killed_measurement_goes_on_and_ends_with_the_same_figures(
    llama: Llama, trained_gguf: Path, held_out: Path, measured: dict[str, Done]
) -> None:
    settings = settings_for("base", trained_gguf, held_out, llama.folder / "base")
    with closing(llama.messages("quality", settings, "job")) as messages:
        for message in messages:
            if isinstance(message, Advanced) and message.done == 3:
                break
    finished = {path: path.stat().st_mtime_ns for path in (llama.folder / "base").glob("*.nll.npy")}
    assert len(finished) >= 3
    again = llama.run("quality", settings)
    assert again.result == measured["base"].result
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


def test_a_killed_comparison_goes_on_and_ends_with_the_same_figures(
    llama: Llama, trained_gguf: Path, held_out: Path, measured: dict[str, Done]
) -> None:
    path = llama.quantize(trained_gguf, "Q4_K_M").paths[0]
    base = measured["base"].folder.parent.parent / "base"
    settings = settings_for("compare", path, held_out, base)
    with closing(llama.messages("quality", settings, "job")) as messages:
        for message in messages:
            if isinstance(message, Advanced) and message.done == 3:
                break
    assert llama.run("quality", settings).result == measured["Q4_K_M"].result


def test_a_text_that_is_too_short_is_refused_with_numbers(
    llama: Llama, trained_gguf: Path, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("A few words.\n")
    settings = settings_for("base", trained_gguf, tmp_path / "short.txt", tmp_path / "base")
    with pytest.raises(PlanError, match=r"short\.txt has \d+ tokens of this model, and 512 are needed"):
        llama.run("quality", settings)


def test_a_file_that_is_no_text_is_refused(llama: Llama, trained_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_bytes(b"\x89PNG" * 1000)
    settings = settings_for("base", trained_gguf, tmp_path / "image.txt", tmp_path / "base")
    with pytest.raises(PlanError, match="not UTF-8 text"):
        llama.run("quality", settings)


def test_fewer_windows_than_wished_are_taken_and_said(
    llama: Llama, trained_gguf: Path, held_out: Path, tmp_path: Path
) -> None:
    (tmp_path / "some.txt").write_text(held_out.read_text()[:3000])
    done = llama.run("quality", settings_for("base", trained_gguf, tmp_path / "some.txt", tmp_path / "base"))
    assert f"has {done.result['chunks']} windows of 256 tokens instead of 12" in done.notes


def test_a_base_of_another_text_is_refused(
    llama: Llama, trained_gguf: Path, texts: dict[str, Path], measured: dict[str, Done]
) -> None:
    base = measured["base"].folder.parent.parent / "base"
    with pytest.raises(PlanError, match="of another text or vocabulary"):
        llama.run("quality", settings_for("compare", trained_gguf, texts["calibration"], base))


def test_a_model_that_is_cut_short_is_refused(
    llama: Llama, trained_gguf: Path, held_out: Path, tmp_path: Path
) -> None:
    (tmp_path / "cut.gguf").write_bytes(trained_gguf.read_bytes()[:3_000_000])
    settings = settings_for("base", tmp_path / "cut.gguf", held_out, tmp_path / "base")
    with pytest.raises(LibraryError, match=r"could not load cut\.gguf"):
        llama.run("quality", settings)


def exact_scores(logits: Any, base: Any, following: Any) -> tuple[Any, Any]:
    """Divergence and negative log-likelihood from the definition, in 64 bits."""
    p, q = (
        x - np.log(np.exp(x).sum(axis=1, keepdims=True)) for x in (base.astype("f8"), logits.astype("f8"))
    )
    return (np.exp(p) * (p - q)).sum(axis=1), -q[np.arange(len(q)), following]


@pytest.mark.parametrize("vocabulary", [7, 2048, 50_257])  # odd ones are padded
def test_scores_are_those_of_the_definition(vocabulary: int) -> None:
    generator = np.random.default_rng(vocabulary)
    base = generator.normal(0, 2, (40, vocabulary)).astype(np.float32)
    logits = base + generator.normal(0, 0.5, base.shape).astype(np.float32)
    following = generator.integers(0, vocabulary, 40).astype(np.int32)
    rows, nll = pack(base, following, 2)
    assert rows.shape == (40, row_entries(vocabulary))
    scores = compare(logits, rows, following, 2)
    kld, expected = exact_scores(logits, base, following)
    assert scores["kld"] == pytest.approx(kld, rel=2e-3, abs=1e-5)
    assert scores["nll"] == pytest.approx(expected, rel=1e-5)
    assert scores["base_nll"] == pytest.approx(nll, abs=1e-3)
    assert np.array_equal(scores["same_top"], logits.argmax(1) == base.argmax(1))


def test_a_model_that_prefers_nothing_is_measured_too() -> None:
    flat, following = np.zeros((3, 10), np.float32), np.zeros(3, np.int32)
    rows, nll = pack(flat, following, 1)
    assert nll == pytest.approx([np.log(10)] * 3)
    assert compare(flat, rows, following, 1)["kld"] == pytest.approx([0, 0, 0], abs=1e-6)


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    logits, following = np.zeros((255, 150_000), np.float32), np.zeros(255, np.int32)
    tracemalloc.start()
    rows, _ = pack(logits, following, 2)
    compare(logits, rows, following, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - rows.nbytes < 100_000_000  # the logits themselves are 153 MB


def test_sizes_are_llama_perplexitys() -> None:
    assert scored_tokens(512) == 255
    assert base_bytes(32_000, 1, 512) == 255 * (32_000 + 4) * 2
    assert base_bytes(50_257, 10, 512) == 10 * 255 * (50_258 + 4) * 2


@pytest.mark.slow
def test_figures_are_those_of_llama_perplexity(
    trained_gguf: Path, held_out: Path, measured: dict[str, Done], tools: Path, tmp_path: Path
) -> None:
    options = ["-f", held_out, "-c", CONTEXT, "-b", CONTEXT, "--chunks", CHUNKS, "-t", 2]
    options += ["--kl-divergence-base", tmp_path / "base.bin"]
    tool = tools / "llama-perplexity"
    theirs = printed([tool, "-m", trained_gguf, *options], {"perplexity": r"PPL = ([\d.]+)"})
    assert theirs["perplexity"] == f"{measured['base'].result['perplexity']:.4f}"
    for kind in ("Q8_0", "Q4_K_M", "Q2_K"):
        model = measured["base"].folder.parent.parent / kind / "files" / f"model.{kind}.gguf"
        theirs = printed([tool, "-m", model, *options, "--kl-divergence"], FIGURES)
        ours = measured[kind].result | {"same_top": 100 * measured[kind].result["same_top"]}
        for figure, text in theirs.items():
            last_digit = 10.0 ** -len(text.partition(".")[2])
            assert float(text) == pytest.approx(ours[figure], abs=1.5 * last_digit), (kind, figure)


FIGURES = {
    "perplexity": r"Mean PPL\(Q\) *: +([\d.]+)",
    "base_perplexity": r"Mean PPL\(base\) *: +([\d.]+)",
    "mean_kld": r"Mean    KLD: +([\d.]+)",
    "kld_99": r"99\.0%   KLD: +([\d.]+)",
    "max_kld": r"Maximum KLD: +([\d.]+)",
    "same_top": r"Same top p: +([\d.]+)",
}


def printed(command: list[Any], patterns: dict[str, str]) -> dict[str, str]:
    """What the tool prints; its log runs in a thread of its own and loses the last lines at times."""
    for _ in range(30):
        done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
        found = {name: re.search(pattern, done.stdout + done.stderr) for name, pattern in patterns.items()}
        if all(found.values()):
            return {name: match[1] for name, match in found.items() if match}
    raise AssertionError(f"{command[0]} does not print {found}")
