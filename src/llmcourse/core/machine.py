"""What this computer has, as a value that planners receive, so that plans can be tested without it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Gpu:
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Machine:
    """`memory_bytes` is what is free now, `total_memory_bytes` what it has; decisions use the latter."""

    cpus: int
    memory_bytes: int
    total_memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    python: str = ""

    @property
    def vram_bytes(self) -> int:
        return max((gpu.memory_bytes for gpu in self.gpus), default=0)


def usable_cpus() -> int:
    """Cores that this process may run on; a container or a batch system may give fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def this_machine() -> Machine:
    return Machine(
        cpus=usable_cpus(),
        memory_bytes=min(psutil.virtual_memory().available, _cgroup_free_bytes()),
        total_memory_bytes=psutil.virtual_memory().total,
        gpus=_gpus(),
        python=sys.version.split()[0],
    )


def free_disk_bytes(path: Path) -> int:
    """Free space for this user on the file system that `path` is, or will be, on."""
    return shutil.disk_usage(existing_parent(path)).free


def same_disk(first: Path, second: Path) -> bool:
    return existing_parent(first).stat().st_dev == existing_parent(second).stat().st_dev


def existing_parent(path: Path) -> Path:
    """The path itself, or the nearest thing above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _cgroup_free_bytes() -> int:
    """What a container's limit leaves; `free` shows the whole host there, and the kill comes silently."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        parts = dict(line.split() for line in (root / "memory.stat").read_text().splitlines())
    except OSError:
        return sys.maxsize
    # Cached file contents count as used there, but the system gives them up when memory is asked for.
    cached = int(parts.get("inactive_file", 0)) + int(parts.get("active_file", 0))
    return sys.maxsize if limit == "max" else max(0, int(limit) - used + cached)


def _gpus() -> tuple[Gpu, ...]:
    """Asks the driver, not torch: the plan must stay light."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ()
    rows = [line.rsplit(",", 1) for line in answer.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), int(free) * 2**20) for name, free in rows if free.strip().isdigit())


@dataclass(frozen=True)
class CudaCompiler:
    """nvcc: the folder of its toolkit, and its version as 13.0."""

    folder: Path
    version: str


def cuda_compiler() -> CudaCompiler | None:
    """The CUDA compiler that torch's extensions can be built with: nvcc and the headers beside it."""
    found = shutil.which("nvcc")
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    homes += [str(Path(found).resolve().parent.parent)] if found else []
    for home in (Path(home) for home in (*homes, "/usr/local/cuda") if home):
        program = home / "bin" / "nvcc"
        if not (home / "include" / "cuda_runtime.h").is_file() or not program.is_file():
            continue  # a launcher of that name in another folder is of no use to a compiler
        try:
            answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10).stdout
        except (subprocess.SubprocessError, OSError):
            continue
        version = re.search(r"release (\d+\.\d+)", answer)
        if version:
            return CudaCompiler(home, version[1])
    return None
