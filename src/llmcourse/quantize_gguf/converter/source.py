"""llama.cpp's converter of exactly the installed llama-cpp-python, in a cache.

The wheel of llama-cpp-python lacks the converter, its source archive has it.  So the package installer
fetches that archive once per version; what the converter needs of it, 3 of 217 MB, stays in
`<cache>/llama.cpp/<version>/` and is enough to work offline from then on.  The package `gguf` of the
index is other code under the same version number, and is never used.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from llmcourse.core.artifact import sha256_of
from llmcourse.core.cache import cache_folder
from llmcourse.core.errors import LlmcourseError, MissingError, PlanError, file_error
from llmcourse.core.progress import Progress
from llmcourse.quantize_gguf.versions import INSTALL

# Source archives as published; those of other versions are what the index itself vouches for.
_SHA256 = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
_RECORD = "llmcourse-source.json"
_ROOT_FILES = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "LICENSE")
_PACKAGES = ("conversion", "gguf-py/gguf")
# Which pre-tokenizers this version knows is written in no Python file.
PRE_TOKENIZERS = "src/llama-vocab.cpp"
_ESSENTIAL = (
    "convert_lora_to_gguf.py",
    "conversion/__init__.py",
    "conversion/base.py",
    "gguf-py/gguf/__init__.py",
    "gguf-py/gguf/gguf_writer.py",
    PRE_TOKENIZERS,
)


# glibc maps every large array anew and the kernel clears each page: a fifth of a conversion's time.
_KEPT_BYTES = str(1 << 28)


def converter_environment(folder: Path, trust_remote_code: bool = False) -> dict[str, str]:
    """What the process of the converter in `folder` needs in its environment; freed memory stays in it.

    Only with `trust_remote_code` may it run tokenizer code that a model brings.
    """
    memory = {"MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES, "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES}
    trust = {"LLMCOURSE_TRUST_REMOTE_CODE": "1" if trust_remote_code else ""}
    return {"LLMCOURSE_CONVERTER": str(folder)} | trust | memory


def fetch_converter(version: str, progress: Progress) -> Path:
    """Return the converter's folder for a version of llama-cpp-python, fetching it first if need be.

    Several processes may ask at once.  A folder that is not as it was written is fetched again.

    Raises:
        MissingError: it is not there and cannot be fetched.
        PlanError: what came is not what was published, or the disk is full.
    """
    folder = cache_folder() / "llama.cpp" / version
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{version}.lock"):
            if not _is_whole(folder):  # another process may have fetched it while this one waited
                with progress.step("fetch llama.cpp's converter"):
                    _fetch(version, folder)
    except OSError as error:
        raise file_error(error) from error
    return folder


def check_converter(folder: Path) -> LlmcourseError | None:
    """What a llama.cpp checkout lacks to serve as converter; None if nothing."""
    absent = [name for name in _ESSENTIAL if not (folder / name).is_file()]
    if not absent:
        return None
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return MissingError(
        f"{folder} holds no converter that can be used: {absent[0]}{more} is not there.",
        "Give a checkout of llama.cpp from 2026 on, or leave `converter` out.",
        where="converter",
    )


def _is_whole(folder: Path) -> bool:
    """Whether every file is there as it was written; 3 MB are hashed in the time of a blink."""
    try:
        files = json.loads((folder / _RECORD).read_text("utf-8"))["files"]
        return all(sha256_of(folder / name) == sha256 for name, sha256 in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # absent or damaged: both mean that it is fetched


def _fetch(version: str, folder: Path) -> None:
    for leftover in folder.parent.glob(f"{version}.partial-*"):  # of processes that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{version}.partial-", dir=folder.parent))
    try:
        archive = _download(version, partial / "download")
        sha256 = sha256_of(archive)
        if sha256 != _SHA256.get(version, sha256):
            raise PlanError(
                f"The source archive of llama-cpp-python {version} has sha256 {sha256[:12]}…, "
                f"not the published {_SHA256[version][:12]}….",
                "Find out where your package index takes it from; nothing of it was kept.",
            )
        try:
            files = {name: _written(partial / "files" / name, file) for name, file in _members(archive)}
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise PlanError(
                f"The source archive of llama-cpp-python {version} is damaged ({error}).",
                "Clear pip's cache (`pip cache purge`) and run it again.",
            ) from error
        absent = set(_ESSENTIAL) - set(files)
        if absent:
            raise MissingError(
                f"llama-cpp-python {version} brings no converter of the known kind: it has no {min(absent)}.",
                f"{INSTALL} (or set `converter` to a checkout of llama.cpp).",
            )
        record = {"package": f"llama-cpp-python=={version}", "sha256": sha256, "files": files}
        (partial / "files" / _RECORD).write_text(json.dumps(record, indent=1), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        (partial / "files").rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _download(version: str, place: Path) -> Path:
    """Let pip fetch the source archive: it knows the user's index, proxy and certificates."""
    way_out = "set `converter` to a checkout of llama.cpp"
    if importlib.util.find_spec("pip") is None:
        raise MissingError(
            "llama.cpp's converter has to be fetched, and this Python has no pip to do it.",
            f"Install pip (`uv pip install pip`, or `python -m ensurepip`), or {way_out}.",
        )
    temporary = place / "tmp"
    temporary.mkdir(parents=True)
    package = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
    pip = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "download", "--quiet", *package, "--dest", str(place)],
        env=os.environ | {"TMPDIR": str(temporary), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    archives = list(place.glob("*.tar.gz"))
    if pip.returncode or len(archives) != 1:
        errors = [line for line in pip.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[0].removeprefix("ERROR: ").rstrip(".") if errors else "no reason given"
        raise MissingError(
            f"llama.cpp's converter could not be fetched by pip: {reason}.",
            f"Run it again where the package index can be reached, or {way_out}.",
        )
    return archives[0]


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The files that are kept, by their path in llama.cpp."""
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            top, *parts = PurePosixPath(member.name).parts
            name = "/".join(parts[2:])
            is_ours = top.startswith("llama_cpp_python-") and parts[:2] == ["vendor", "llama.cpp"]
            if is_ours and _is_kept(name) and member.isfile() and (file := tar.extractfile(member)):
                yield name, file


def _is_kept(name: str) -> bool:
    """Exact names and one level of Python files: none can lead out of the folder."""
    folder, _, file = name.rpartition("/")
    return name in (*_ROOT_FILES, PRE_TOKENIZERS) or (folder in _PACKAGES and file.endswith(".py"))


def _written(path: Path, file: IO[bytes]) -> str:
    data = file.read()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
