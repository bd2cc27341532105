"""llama.cpp's converter is fetched once, verified, and healed when it is damaged."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from llmcourse.core.errors import MissingError, PlanError
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.converter import source
from llmcourse.quantize_gguf.converter.source import check_converter, fetch_converter

QUIET = Progress(lambda event: None)
OTHER = "9.9.9"  # a version of which nothing is known
GOOD = dict.fromkeys(source._ESSENTIAL, b"# python") | {"LICENSE": b"MIT", "tools/main.cpp": b"no"}


def build_index(folder: Path, files: dict[str, bytes], prefix: str = "vendor/llama.cpp/") -> str:
    """A folder for pip's --find-links, with a source archive that builds without any index."""
    folder.mkdir(exist_ok=True)
    top = f"llama_cpp_python-{OTHER}"
    backend = (
        b"def prepare_metadata_for_build_wheel(folder, settings=None):\n"
        b"    import pathlib\n"
        b"    place = pathlib.Path(folder, 'llama_cpp_python-9.9.9.dist-info'); place.mkdir()\n"
        b"    text = 'Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 9.9.9\\n'\n"
        b"    (place / 'METADATA').write_text(text)\n"
        b"    return place.name\n"
        b"def build_wheel(*_): raise NotImplementedError\n"
    )
    project = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    own = {"PKG-INFO": f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {OTHER}\n".encode()}
    own |= {"backend.py": backend, "pyproject.toml": project}
    with tarfile.open(folder / f"{top}.tar.gz", "w:gz") as tar:
        for name, data in own.items() | {(prefix + name, data) for name, data in files.items()}:
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{top}/{prefix}conversion/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return hashlib.sha256((folder / f"{top}.tar.gz").read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index without network, and a cache of its own."""
    monkeypatch.setenv("LLMCOURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "index"


def left_in(cache: Path) -> set[str]:
    return {path.name for path in (cache / "llama.cpp").iterdir()}


def test_the_installed_version_has_its_converter() -> None:
    folder = fetch_converter(version("llama-cpp-python"), QUIET)
    assert check_converter(folder) is None
    assert "MIT" in (folder / "LICENSE").read_text()


def test_only_what_the_converter_needs_is_kept(index: Path, tmp_path: Path) -> None:
    build_index(index, GOOD)
    folder = fetch_converter(OTHER, QUIET)
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == {*source._ESSENTIAL, "LICENSE", source._RECORD}
    assert left_in(tmp_path / "cache") == {OTHER, f"{OTHER}.lock"}


def test_it_is_fetched_once(index: Path) -> None:
    build_index(index, GOOD)
    folder = fetch_converter(OTHER, QUIET)
    (index / f"llama_cpp_python-{OTHER}.tar.gz").unlink()
    assert fetch_converter(OTHER, QUIET) == folder


@pytest.mark.parametrize("damage", ["changed", "deleted", "record"])
def test_a_damaged_folder_is_fetched_again(damage: str, index: Path) -> None:
    build_index(index, GOOD)
    folder = fetch_converter(OTHER, QUIET)
    file = folder / ("conversion/base.py" if damage != "record" else source._RECORD)
    if damage == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"\0" * 8)
    fetch_converter(OTHER, QUIET)
    assert (folder / "conversion" / "base.py").read_bytes() == b"# python"


def test_an_archive_that_is_not_the_published_one_is_refused(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(index, GOOD)
    monkeypatch.setitem(source._SHA256, OTHER, "0" * 64)
    with pytest.raises(PlanError, match="not the published 000000000000") as refusal:
        fetch_converter(OTHER, QUIET)
    assert "nothing of it was kept" in refusal.value.fix
    assert left_in(tmp_path / "cache") == {f"{OTHER}.lock"}


def test_the_published_archive_is_accepted(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(source._SHA256, OTHER, build_index(index, GOOD))
    assert fetch_converter(OTHER, QUIET).is_dir()


def test_a_version_without_the_converter_is_refused(index: Path) -> None:
    build_index(index, {"CMakeLists.txt": b""})
    with pytest.raises(MissingError, match="brings no converter"):
        fetch_converter(OTHER, QUIET)


@pytest.mark.parametrize(
    "name",
    ["conversion/../../out.py", "../out.py", "/etc/out.py", "conversion/deeper/out.py", "gguf-py/out.py", ""],
)
def test_names_that_lead_outside_are_not_kept(name: str) -> None:
    # pip refuses such archives too.
    assert source._is_kept("conversion/llama.py") and not source._is_kept(name)


def test_without_an_index_two_ways_out_are_named(index: Path, tmp_path: Path) -> None:
    index.mkdir()
    with pytest.raises(MissingError, match=r"could not be fetched by pip: .*from versions: none") as error:
        fetch_converter(OTHER, QUIET)
    assert "index can be reached" in error.value.fix and "`converter`" in error.value.fix
    assert left_in(tmp_path / "cache") == {f"{OTHER}.lock"}


def test_without_pip_two_ways_out_are_named(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match="no pip") as error:
        fetch_converter(OTHER, QUIET)
    assert "Install pip" in error.value.fix and "`converter`" in error.value.fix


@pytest.mark.parametrize("after_s", [0.05, 0.3, 0.8])
def test_a_killed_fetch_leaves_nothing_that_looks_finished(
    after_s: float, index: Path, tmp_path: Path
) -> None:
    build_index(index, GOOD)
    fetch = f"from {source.__name__} import *; fetch_converter({OTHER!r}, Progress(lambda event: None))"
    process = subprocess.Popen([sys.executable, "-c", fetch], start_new_session=True)
    while not list(tmp_path.glob("cache/llama.cpp/*.partial-*")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder = fetch_converter(OTHER, QUIET)
    assert check_converter(folder) is None
    assert left_in(tmp_path / "cache") == {OTHER, f"{OTHER}.lock"}


def test_two_processes_fetch_once(index: Path, tmp_path: Path) -> None:
    build_index(index, GOOD)
    fetch = f"from {source.__name__} import *; fetch_converter({OTHER!r}, Progress(print))"
    processes = [
        subprocess.Popen([sys.executable, "-c", fetch], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("Started" in output for output in outputs) == 1


def test_a_checkout_that_lacks_something_is_said(tmp_path: Path) -> None:
    for name in source._ESSENTIAL[1:]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    problem = check_converter(tmp_path)
    assert isinstance(problem, MissingError) and source._ESSENTIAL[0] in problem.what
    (tmp_path / source._ESSENTIAL[0]).touch()
    assert check_converter(tmp_path) is None
    assert "and 5 more" in str(check_converter(tmp_path / "elsewhere"))
