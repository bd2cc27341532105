"""The package as its users get it: archives built from this tree, installed where nothing else is."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
UV = Path(sys.prefix) / "bin" / "uv"


# The Pythons that the metadata claims.
PYTHONS = ("3.11", "3.12", "3.13")
# (extra, interpreter) -> the interpreter of a new environment
Alone = Callable[..., str]


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


def done(*command: str | Path, cwd: Path = ROOT) -> str:
    """What `command` says on stdout; where it fails, the test fails with its stderr."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # uv does not read pip's own setting for a folder of wheels.
    if "PIP_FIND_LINKS" in environment:
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=cwd)
    assert ended.returncode == 0, f"{command}: {ended.stdout[-2000:]}{ended.stderr[-4000:]}"
    return ended.stdout


def build(folder: Path) -> Built:
    """The source archive, and the wheel made from that archive rather than from this tree."""
    done(uv(), "build", "--quiet", "--out-dir", folder, ROOT)
    return archives_in(folder)


def archives_in(folder: Path) -> Built:
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def bare(folder: Path, python: str = sys.executable) -> str:
    """A fresh environment's interpreter."""
    done(uv(), "venv", "--quiet", "--python", python, folder)
    return str(folder / "bin" / "python")


def install(python: str, wheel: Path, extra: str = "", *, pinned: bool = True) -> None:
    """The wheel with an extra, its dependencies as they were tested or, not pinned, the newest there are."""
    wanted = f"llmcourse[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    constraints = ("--constraint", ROOT / "constraints.txt") if pinned else ()
    done(uv(), "pip", "install", "--quiet", "--python", python, *constraints, wanted)


def interpreter(version: str) -> str:
    """One of this version that starts, on the PATH or among pyenv's; a test without one is skipped."""
    on_path = shutil.which(f"python{version}")
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for python in [*([on_path] if on_path else []), *map(str, pyenv)]:
        # pyenv's own stand-in on the PATH refuses where the version is not chosen.
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"there is no Python {version} on this machine")


def uv() -> Path:
    assert UV.exists(), f"The extra dev brings uv, but {UV} does not exist."
    return UV


def tracked() -> list[str]:
    """Names of this tree's files, those that git ignores left out."""
    listed = done("git", "ls-files", "--cached", "--others", "--exclude-standard")
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]
