"""What goes wrong outside of llmcourse: a step that dies, a folder with traps, files without their end."""

import json
import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import Family, build_random_llama
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import (
    logged_in,
    manifest,
    program,
    staging,
    start_converted,
    steps,
    wait_for,
    write_config,
)

RUN = ("quantize-gguf", "g.yaml", "-o", "out", "--json", "--progress", "json")


@pytest.fixture
def fresh(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return program(llmcourse, tmp_path_factory)


@pytest.fixture
def quantize(fresh: Cli, tmp_path_factory: pytest.TempPathFactory, family: Family) -> Cli:
    """The program in a folder where g.yaml has been begun, with a text."""
    start_converted(tmp_path_factory, fresh, family)
    (fresh.folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    return fresh


def test_widths_that_are_no_multiple_of_256_are_made_with_fallbacks(fresh: Cli, family: Family) -> None:
    """The shape of SmolLM-135M."""
    model = fresh.folder / "narrow"
    build_random_llama(model, hidden=576, heads=9, kv_heads=3, intermediate=1536, tokenizer_from=family.base)
    write_config(fresh.folder, model=str(model), types=["Q8_0", "Q4_K_M"])
    made = fresh(*RUN)
    assert made.exit_code == 0, made.stderr


def test_a_bfloat16_gpt2_is_converted_though_its_weights_are_transposed(fresh: Cli, family: Family) -> None:
    model = build_random_llama(
        fresh.folder / "gpt2", architecture="gpt2", hidden=256, heads=4, tokenizer_from=family.base
    )
    write_config(fresh.folder, model=str(model), types=["Q8_0"])
    made = fresh(*RUN)
    # Its embeddings and the tokenizer may not fit; its transposed tensors must not be what stops it.
    assert "stride" not in made.stderr and "view" not in made.stderr, made.stderr


@pytest.mark.parametrize("trap", ["torch.py", "numpy.py", "yaml.py"])
def test_a_module_in_the_current_folder_is_not_run(trap: str, quantize: Cli) -> None:
    (quantize.folder / trap).write_text("open('it-ran', 'w').close()\nraise SystemExit(9)\n")
    # The installed program, which unlike `python -m` does not put the current folder on the path.
    made = subprocess.run(
        [Path(quantize.python).with_name("llmcourse"), *RUN], cwd=quantize.folder,
        env=os.environ | quantize.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert not (quantize.folder / "it-ran").exists()


@pytest.mark.slow
def test_the_types_that_were_made_get_their_card_though_one_died(quantize: Cli) -> None:
    process = quantize.start(*RUN, "types=[Q8_0, IQ4_XS]")

    def killed() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            if (staging(quantize.folder) / "scratch" / "IQ4_XS").exists():
                command = " ".join(child.cmdline())
                if "llama.quantize" in command and "IQ4_XS" in str(child.open_files()):
                    child.kill()
                    return True
        return False

    wait_for(killed, process)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 5, stderr
    assert "Traceback" not in stderr and json.loads(stdout)["error"]["exit_code"] == 5
    made = manifest(quantize.folder / "out")
    assert [file["piece"] for file in made["files"] if "piece" in file] == ["Q8_0"]
    assert "base.Q8_0.gguf" in (quantize.folder / "out" / "README.md").read_text()
    again = quantize(*RUN, "types=[Q8_0, IQ4_XS]")
    assert again.exit_code == 0 and "quantize Q8_0" not in steps(again), again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_a_saved_window_without_its_end_is_measured_again(content: bytes, quantize: Cli) -> None:
    asked = (*RUN, "types=[Q8_0]", "quality.text=held-out.txt", "quality.chunks=40")
    process = quantize.start(*asked)
    probabilities = staging(quantize.folder) / "scratch" / "quality"
    wait_for(lambda: len(list(probabilities.rglob("*.nll.npy"))) > 1, process)
    process.kill()
    process.communicate()
    next(probabilities.rglob("*.nll.npy")).write_bytes(content)
    next(probabilities.rglob("*.rows.npy")).write_bytes(content)
    time.sleep(1)  # its children notice
    made = quantize(*asked)
    assert made.exit_code == 0, made.stderr


@pytest.mark.slow
def test_an_imatrix_of_another_model_is_refused_before_the_conversion(
    fresh: Cli, family: Family, tmp_path: Path
) -> None:
    other = build_random_llama(tmp_path / "other", hidden=512, heads=4, tokenizer_from=family.base)
    (fresh.folder / "calibration.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    write_config(fresh.folder, model=str(other), types=["Q8_0"])
    made = fresh("quantize-gguf", "g.yaml", "-o", "matrix", "imatrix={text: calibration.txt, chunks: 2}")
    assert made.exit_code == 0, made.stderr
    write_config(fresh.folder, model=str(family.base), types=["Q4_K_M"])
    for matrix in ("matrix/imatrix.gguf", "calibration.dat"):
        (fresh.folder / "calibration.dat").write_bytes(b"no matrix")
        refused = fresh("quantize-gguf", "g.yaml", "-n", f"imatrix={matrix}")
        assert refused.exit_code == 4, refused.stdout
        assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_without_keep_local_no_more_files_pile_up_than_the_plan_says(quantize: Cli, hub: LoopbackHub) -> None:
    hub.settings.upload_pace.bytes_per_s = 2e6
    alice = logged_in(quantize, hub)
    types = "types=[Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q3_K_M, Q2_K]"
    process = alice.start(*RUN, types, "keep_local=false", "--push", "alice/tiny-GGUF")
    most = 0
    while process.poll() is None:
        most = max(most, len(list((staging(quantize.folder) / "files").glob("*.gguf"))))
        time.sleep(0.02)
    stderr = process.communicate()[1]
    assert process.returncode == 0, stderr
    assert 1 <= most <= 4
    assert "make room" in stderr
    assert not list((quantize.folder / "out").glob("*.gguf"))
