"""Archives and the core's environment, made once for all workers of a test run."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from llmcourse.testing.plugin import Cli
from tests.package.installing import Alone, Built, archives_in, bare, build, install


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "package"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def built(shared: Path) -> Built:
    folder = shared / "dist"
    with FileLock(shared / "dist.lock"):
        if not (shared / "dist.complete").exists():
            build(folder)
            (shared / "dist.complete").touch()
    return archives_in(folder)


@pytest.fixture(scope="session")
def core_python(shared: Path, built: Built) -> str:
    """Python of an environment that has the wheel without any extra."""
    folder = shared / "core"
    with FileLock(shared / "core.lock"):
        if not (shared / "core.complete").exists():
            install(bare(folder), built.wheel)
            (shared / "core.complete").touch()
    return str(folder / "bin" / "python")


@pytest.fixture
def alone(tmp_path: Path, built: Built) -> Iterator[Alone]:
    """Makes an environment that has the wheel with one extra; gigabytes, so it does not stay."""
    folder = tmp_path / "environment"

    def made(extra: str, python: str = sys.executable, *, pinned: bool = True) -> str:
        interpreter = bare(folder, python)
        install(interpreter, built.wheel, extra, pinned=pinned)
        return interpreter

    yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def core(llmcourse: Cli, core_python: str) -> Cli:
    """The program of the core install, in an empty folder."""
    return Cli(llmcourse.folder, {**llmcourse.env, "PYTHONPATH": ""}, core_python)
