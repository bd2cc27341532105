"""What the converter may go on with, in this process; a STAND-IN does the work."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.progress import Event, Note, Progress
from llmcourse.core.workspace import write_json
from llmcourse.quantize_exl2.converter import Converter
from llmcourse.quantize_exl2.options import Options, Places
from llmcourse.quantize_exl2.results import model_problem
from tests.quantize_exl2.builders import config, write_llama
from tests.quantize_exl2.stand_in_run import StandIn


class Folder:
    """A working folder as a kill leaves it, after one of two layers."""

    def __init__(self, place: Path) -> None:
        self.place = place
        write_llama(place / "model", log=str(place / "calls"))
        measured = {"measurement": {"model.layers.0.mlp": [1]}, "last_module_idx": 2}
        (place / "measurement.json").write_text(json.dumps(measured))
        places = Places(place / "model", place / "work", None)
        read = config("{model: m, bits_per_weight: 3.5}")
        self.options = places.quantizing(read, "3.5bpw", 3.5, place / "measurement.json", place / "made")
        self.work = Path(self.options.out_dir)
        self.notes: list[str] = []

    def interrupted(self, **changes: Any) -> None:
        (self.work / "out_tensor").mkdir(parents=True)
        write_json(Path(f"{self.work}.json"), asdict(self.options))
        job = asdict(self.options) | {"progress": "quant", "q_last_module_idx": 1, "last_module_idx": 2}
        job["reuse_measurement"] = job.pop("measurement")
        write_json(self.work / "job_new.json", job | changes)

    def run(self, options: Options | None = None) -> dict[str, Any]:
        """Call the converter, and what it noted of the call."""
        converter = Converter(StandIn(), {}, Progress(self._hear))
        call = converter.run("3.5bpw", options or self.options)
        assert call.code == 0, call.telling
        noted: dict[str, Any] = json.loads((self.place / "calls").read_text().splitlines()[-1])
        return noted

    def _hear(self, event: Event) -> None:
        self.notes += [event.text] if isinstance(event, Note) else []


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_job_of_ours_goes_on(folder: Folder) -> None:
    folder.interrupted()
    assert folder.run()["quantized"] == 1 and folder.notes == []
    assert model_problem(folder.place / "made", 3.5, 6) is None


def test_a_kill_before_the_first_job_file_leaves_nothing_to_go_on_with(folder: Folder) -> None:
    folder.work.mkdir(parents=True)
    write_json(Path(f"{folder.work}.json"), asdict(folder.options))
    assert not folder.run()["resumed"] and folder.notes == []


@pytest.mark.parametrize(
    "changes",
    [
        {"invalid": True},
        {"bits": 8.0},
        {"head_bits": 8},
        {"in_dir": "/other"},
        {"compile_full": "/other"},
        {"cal_dataset": "/other.parquet"},
        {"reuse_measurement": "/other.json"},
        {"rope_scale": 2.0},
        {"progress": "finished"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_job_is_never_gone_on_with(folder: Folder, changes: dict[str, Any]) -> None:
    folder.interrupted(**changes)
    assert not folder.run()["resumed"]
    assert len(folder.notes) == 1 and "starts over" in folder.notes[0]
    assert model_problem(folder.place / "made", 3.5, 6) is None


def test_a_job_file_that_a_kill_tore_is_not_read(folder: Folder) -> None:
    folder.interrupted()
    path = folder.work / "job_new.json"
    path.write_bytes(path.read_bytes()[:50])
    assert not folder.run()["resumed"] and len(folder.notes) == 1


@pytest.mark.parametrize("option", ["length", "dataset_rows", "shard_size"])
def test_options_that_its_job_file_does_not_keep_are_kept_beside_it(folder: Folder, option: str) -> None:
    folder.interrupted()
    changed: dict[str, Any] = {option: 1024}
    other = replace(folder.options, **changed)
    assert not folder.run(other)["resumed"] and len(folder.notes) == 1


def test_a_folder_without_our_record_is_not_gone_on_with(folder: Folder) -> None:
    folder.interrupted()
    Path(f"{folder.work}.json").unlink()
    assert not folder.run()["resumed"]


def test_what_was_half_compiled_is_compiled_anew(folder: Folder) -> None:
    folder.interrupted()
    (folder.place / "made").mkdir()
    (folder.place / "made" / "output_temp_1.safetensors").write_bytes(b"half")
    assert folder.run()["resumed"]
    assert model_problem(folder.place / "made", 3.5, 6) is None
