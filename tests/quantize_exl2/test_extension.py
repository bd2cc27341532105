"""The environment and the extension: what is looked for, what its processes are told, what a kill leaves."""

from pathlib import Path

import pytest

from llmcourse.core.environments import pinned
from llmcourse.core.errors import LibraryError
from llmcourse.core.machine import cuda_compiler
from llmcourse.core.progress import Event, Progress, Started
from llmcourse.quantize_exl2 import extension
from llmcourse.quantize_exl2.naming import WORKER
from llmcourse.quantize_exl2.pins import CUDA, cuda_of
from tests.quantize_exl2.stand_in_run import StandIn


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def toolkit(folder: Path, version: str) -> Path:
    """A CUDA toolkit of which only nvcc's version is there."""
    (folder / "bin").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "include" / "cuda_runtime.h").touch()
    program = folder / "bin" / "nvcc"
    program.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version}, V{version}.1'\n")
    program.chmod(0o755)
    return folder


def test_nvcc_is_the_one_of_cuda_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path / "cuda", "12.8")))
    found = cuda_compiler()
    assert found and (found.folder, found.version) == (tmp_path / "cuda", "12.8")
    assert extension.present()["nvcc"] == "12.8" and cuda_of("12.8") != CUDA
    assert extension.variables(StandIn(), None)["CUDA_HOME"] == str(tmp_path / "cuda")


def test_a_launcher_without_headers_is_no_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toolkit(tmp_path / "cuda", "12.8") / "include" / "cuda_runtime.h").unlink()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    found = cuda_compiler()
    assert found is None or found.folder != tmp_path / "cuda"


def test_the_gpu_that_the_plan_chose_is_shown_unless_a_person_chose_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "CUDA_VISIBLE_DEVICES" not in extension.variables(StandIn(), None)
    assert extension.variables(StandIn(), 1)["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert "CUDA_VISIBLE_DEVICES" not in extension.variables(StandIn(), 1)


def test_what_is_shown_is_whether_it_is_built_or_only_loaded() -> None:
    events: list[Event] = []
    told = extension.variables(StandIn(), None)
    extension.prepare(StandIn(), told, Progress(events.append))
    made = Path(told["TORCH_EXTENSIONS_DIR"], "exllamav2_ext", "exllamav2_ext.so")
    made.parent.mkdir(parents=True)
    made.touch()
    extension.prepare(StandIn(), told, Progress(events.append))
    assert [event.step for event in events if isinstance(event, Started)] == [
        "compile exllamav2's extension (minutes, once)",
        "load exllamav2",
    ]


def test_an_extension_that_does_not_load_is_told_in_its_own_words(tmp_path: Path) -> None:
    class Broken(StandIn):
        def __init__(self) -> None:
            super().__init__()
            self.script = tmp_path / "broken.py"
            self.script.write_text("raise RuntimeError('Error building extension')")

    with pytest.raises(LibraryError, match="Error building extension") as caught:
        extension.prepare(Broken(), {}, Progress(lambda _: None))
    assert caught.value.fix


def test_every_package_that_decides_the_result_is_pinned() -> None:
    assert {"exllamav2", "torch", "tokenizers"} <= set(pinned(WORKER))
