"""exllamav2's environment and its CUDA extension, which is compiled on this machine once and kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from llmcourse.core import extras
from llmcourse.core.cache import cache_folder, made_folder
from llmcourse.core.environments import Environment
from llmcourse.core.machine import cuda_compiler
from llmcourse.core.progress import Progress
from llmcourse.quantize_exl2.failures import failure_of, is_telling
from llmcourse.quantize_exl2.naming import WORKER

# The name that exllamav2 gives it (exllamav2 0.3.2, ext.py).
_NAME = "exllamav2_ext"


def present() -> dict[str, str]:
    """What of all this is on the machine, for the plan."""
    environment = Environment(WORKER)
    compiler = cuda_compiler()
    found = {
        "environment": environment.is_ready(),
        "extension": (_folder(environment) / _NAME / f"{_NAME}.so").is_file(),
        "uv": extras.installed("uv"),
        "datasets": extras.installed("datasets"),
        "c++": shutil.which("c++") or shutil.which("g++"),
    }
    return {name: "here" for name, is_here in found.items() if is_here} | (
        {"nvcc": compiler.version} if compiler else {}
    )


def variables(environment: Environment, gpu: int | None) -> dict[str, str]:
    """What the processes in the environment are told; `gpu` is the one to use, as nvidia-smi counts."""
    compiler = cuda_compiler()
    # Without flash-attn exllamav2 0.3.2 gives torch's own attention no causal mask (attn.py, _attn_torch):
    # every token would see those that come after it.  Its products of matrices have the mask.
    found = {"EXLLAMA_NO_SDPA": "1", "PYTHONUNBUFFERED": "1"}
    found |= {"TORCH_EXTENSIONS_DIR": str(_folder(environment))}
    found |= {"CUDA_HOME": str(compiler.folder)} if compiler else {}
    if gpu is not None and "CUDA_VISIBLE_DEVICES" not in os.environ:
        found |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(gpu)}
    return found


def prepare(environment: Environment, told: dict[str, str], progress: Progress) -> None:
    """Build the environment and the extension, unless they are here; an import proves that both work.

    Raises:
        MissingError: the environment cannot be had.
        PlanError: the cache cannot be written.
        LlmcourseError: the extension cannot be compiled or loaded.
    """
    environment.prepare(progress)
    folder = made_folder(_folder(environment))
    is_built = (folder / _NAME / f"{_NAME}.so").is_file()
    step = "load exllamav2" if is_built else "compile exllamav2's extension (minutes, once)"
    with progress.step(step):
        _import(environment, told)  # two at once build it once: torch 2.14 locks the folder


def _import(environment: Environment, told: dict[str, str]) -> None:
    """The converter's help needs all that the converter needs."""
    telling: list[str] = []
    process = environment.start(
        ["convert", "-h"], environment=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                text = line.decode(errors="replace")
                telling += [text.strip()] if is_telling(text) else []
                sys.stderr.write(text)
            code = process.wait()
        finally:
            process.kill()
    if code:
        raise failure_of("load exllamav2", code, telling, f"it ended with {code}")


def _folder(environment: Environment) -> Path:
    return cache_folder().absolute() / "extensions" / environment.folder.name
