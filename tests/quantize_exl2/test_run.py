"""Whole runs with a STAND-IN in place of the converter: it makes the same files and computes nothing."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.quantize_exl2.builders import begun, job, killed_when, wait_for, whole


def test_one_measurement_and_a_folder_for_each_width(tmp_path: Path) -> None:
    program = begun(tmp_path)
    ended = program()
    assert ended.exit_code == 0, ended.stderr
    out = tmp_path / "out"
    assert whole(out) and not program.staging.exists()
    assert sorted(path.name for path in out.iterdir()) == [
        "3.0bpw", "4.25bpw", "README.md", "llmcourse.json", "measurement.json"
    ]  # fmt: skip
    for bits in (3.0, 4.25):
        made = out / f"{bits}bpw"
        assert sorted(path.name for path in made.iterdir()) == [
            "README.md", "config.json", "output.safetensors", "tokenizer.json"
        ]  # fmt: skip
        assert json.loads((made / "config.json").read_text())["quantization_config"]["bits"] == bits
    first, *widths = (call["arguments"] for call in program.calls)
    assert "-om" in first and "-cf" not in first
    assert all("-m" in call and "-cf" in call and "-nr" not in call for call in widths) and len(widths) == 2
    assert "measure: measuring" in ended.steps and "4.25bpw: quantizing" in ended.steps
    about = next(file["about"] for file in ended.document["files"] if file["path"].startswith("4.25bpw/"))
    assert about["bits_per_weight"] == 4.25 and about["calibration_perplexity"] == 12.3456


def test_a_second_run_has_nothing_to_do_and_a_third_adds_what_is_missing(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0])
    assert program().exit_code == 0 and program().document["cached"]
    made = (tmp_path / "out" / "3.0bpw" / "output.safetensors").stat().st_ino
    assert len(program.calls) == 2
    more = program("e.yaml", "bits_per_weight=[3.0, 6.5]")
    assert more.exit_code == 0, more.stderr
    assert len(program.calls) == 3 and "-m" in program.calls[2]["arguments"]
    assert whole(tmp_path / "out") and (tmp_path / "out" / "6.5bpw").is_dir()
    assert (tmp_path / "out" / "3.0bpw" / "output.safetensors").stat().st_ino == made
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "3.0bpw", "6.5bpw", "README.md", "llmcourse.json", "measurement.json"
    ]  # fmt: skip


def test_a_measurement_that_is_given_is_not_made(tmp_path: Path) -> None:
    program = begun(tmp_path)
    assert program().exit_code == 0
    ready = (tmp_path / "out" / "measurement.json").rename(tmp_path / "ready.json")
    ended = program("e.yaml", f"measurement={ready.name}", "bits_per_weight=5", output="other")
    assert ended.exit_code == 0, ended.stderr
    assert len(program.calls) == 4 and "-om" not in program.calls[3]["arguments"]
    assert (tmp_path / "other" / "measurement.json").read_bytes() == ready.read_bytes()


def test_a_measurement_of_another_model_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    program = begun(tmp_path)
    found = {"measurement": {f"model.layers.{index}.mlp": [1] for index in range(9)}, "last_module_idx": 1}
    (tmp_path / "m.json").write_text(json.dumps(found))
    ended = program("e.yaml", "measurement=m.json")
    assert ended.exit_code == 4 and "9 layers, and this one has 2" in ended.sentences
    assert not (tmp_path / "calls").exists()


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0], seconds=0.4)
    killed_when(program, lambda: job(program, "measurement").get("last_module_idx") == 1)
    ended = program()
    assert ended.exit_code == 0, ended.stderr
    assert [(call["resumed"], call["measured"]) for call in program.calls[:2]] == [(False, 0), (True, 1)]


@pytest.mark.parametrize(
    "signal_number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupt_ends_the_converter_too(tmp_path: Path, signal_number: int) -> None:
    program = begun(tmp_path, [3.0], seconds=0.4)
    code = killed_when(program, lambda: bool(job(program, "measurement")), signal_number)
    assert code == 130 and job(program, "measurement")["progress"] == "begin"


def test_a_killed_quantization_goes_on_and_is_not_measured_again(tmp_path: Path) -> None:
    program = begun(tmp_path, seconds=0.3)
    killed_when(program, lambda: job(program, "4.25bpw").get("q_last_module_idx") == 1)
    ended = program()
    assert ended.exit_code == 0, ended.stderr
    assert [call["resumed"] for call in program.calls] == [False, False, False, True]
    assert program.calls[3]["quantized"] == 1 and whole(tmp_path / "out")


@pytest.mark.slow
def test_other_options_never_go_on_with_an_old_job(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0], seconds=0.2)
    killed_when(program, lambda: job(program, "3.0bpw").get("q_last_module_idx") == 1)
    ended = program("e.yaml", "head_bits=8")
    assert ended.exit_code == 0, ended.stderr
    assert not any(call["resumed"] for call in program.calls)
    stated = json.loads((tmp_path / "out" / "3.0bpw" / "config.json").read_text())["quantization_config"]
    assert stated["head_bits"] == 8


def test_an_end_with_0_and_no_result_is_a_failure(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0], fails="Compiling")
    ended = program()
    assert ended.exit_code == 5 and "Unable to fit output tensor" in ended.sentences
    assert not (tmp_path / "out" / "3.0bpw").exists()
    # What was made, the measurement, has its name and is not made again.
    assert (tmp_path / "out" / "measurement.json").is_file()
    path = tmp_path / "llama" / "config.json"
    stamp = path.stat().st_mtime_ns
    path.write_text(path.read_text().replace('"Compiling"', '"Nothing  "'))
    os.utime(path, ns=(stamp, stamp))
    assert program().exit_code == 0 and sum("-om" in call["arguments"] for call in program.calls) == 1


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (" ## Measurement/inference error (2): q", 5, "overflow in float16"),
        ("torch.OutOfMemoryError: CUDA out of memory.", 4, "memory does not suffice"),
        (" ** Warning: Not enough sample data in x", 4, "too short"),
    ],
)
def test_a_failure_says_what_and_what_to_do(tmp_path: Path, words: str, code: int, what: str) -> None:
    ended = begun(tmp_path, fails="Measuring", words=words)()
    assert ended.exit_code == code and what in ended.sentences


@pytest.mark.slow
def test_a_text_becomes_one_column_and_a_parquet_file_stays_as_it_is(tmp_path: Path) -> None:
    from pyarrow import parquet

    (tmp_path / "a.txt").write_text("Some text. " * 30_000)
    wish = "calibration={text: a.txt, samples: 4, length: 128}"
    more = ("measurement_rows=2", "measurement_length=128", "bits_per_weight=3")
    program = begun(tmp_path, seconds=0.2)
    process = program.start("e.yaml", wish, *more)
    made = program.staging / "scratch" / "calibration" / "a.parquet"
    wait_for(made.exists)
    table = parquet.read_table(made)
    assert table.column_names == ["text"] and table.num_rows == 1
    made.rename(tmp_path / "ready.parquet")
    process.kill()
    process.communicate()
    wish = "calibration={file: ready.parquet, samples: 4, length: 128}"
    ended = program("e.yaml", wish, *more, output="other")
    assert ended.exit_code == 0, ended.stderr
    arguments = program.calls[-1]["arguments"]
    assert arguments[arguments.index("-c") + 1] == str(tmp_path / "ready.parquet")


def test_quality_is_measured_and_can_be_asked_for_later(tmp_path: Path) -> None:
    (tmp_path / "held-out.txt").write_text("x" * 2048)
    program = begun(tmp_path, [3.0, 6.0])
    assert program().exit_code == 0
    ended = program("e.yaml", "quality={text: held-out.txt, chunks: 3}")
    assert ended.exit_code == 0, ended.stderr
    assert len(program.calls) == 3
    figures = json.loads((tmp_path / "out" / "quality.json").read_text())["results"]
    assert 0 < figures["6.0bpw"]["mean_kld"] < figures["3.0bpw"]["mean_kld"]
    assert figures["3.0bpw"]["chunks"] == 3
    card = (tmp_path / "out" / "README.md").read_text()
    assert "KL divergence" in card and f"{figures['6.0bpw']['mean_kld']:.2e}" in card


def test_a_text_that_is_too_short_for_quality_is_refused(tmp_path: Path) -> None:
    (tmp_path / "held-out.txt").write_text("x" * 100)
    ended = begun(tmp_path, [3.0])("e.yaml", "quality=held-out.txt")
    assert ended.exit_code == 4 and "has 100 bytes, less than one window of 512 tokens" in ended.sentences


def test_what_a_person_put_beside_a_result_is_kept_when_others_are_added(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0])
    assert program().exit_code == 0
    made = tmp_path / "out" / "3.0bpw"
    (made / "notes.txt").write_text("mine")
    (made / "README.md").write_text("mine too")
    (tmp_path / "out" / "plots").mkdir()
    ended = program("e.yaml", "bits_per_weight=[3.0, 5.0]")
    assert ended.exit_code == 0, ended.stderr
    assert (made / "notes.txt").read_text() == "mine" and (made / "README.md").read_text() == "mine too"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "3.0bpw", "5.0bpw", "README.md", "llmcourse.json", "measurement.json", "plots"
    ]  # fmt: skip


def test_a_result_that_predicts_nothing_is_no_result(tmp_path: Path) -> None:
    ended = begun(tmp_path, [3.0], perplexity="nan")()
    assert ended.exit_code == 5 and "predicts nothing" in ended.sentences
    assert not (tmp_path / "out" / "3.0bpw").exists()


def test_a_text_that_cannot_be_measured_on_is_told_before_anything_is_made(tmp_path: Path) -> None:
    program = begun(tmp_path, [3.0])
    (tmp_path / "utf-16.txt").write_bytes(("words " * 2000).encode("utf-16"))
    ended = program("e.yaml", "quality=utf-16.txt")
    assert ended.exit_code == 4 and "utf-16.txt is not UTF-8 text" in ended.stderr
    assert not (tmp_path / "calls").exists()
