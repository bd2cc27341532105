"""llama.cpp's own tools, built with its defaults from the source of the installed llama-cpp-python.

They are what `quantize-gguf` is compared with, in the benchmark and in the slow tests (4 minutes on 2 cores).

Usage: python bench/llama_tools.py FOLDER    (prints the folder of the programs; builds what is not there)
"""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

TOOLS = ("llama-quantize", "llama-imatrix", "llama-perplexity", "llama-gguf-split")
_LEFT_OUT = ("BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_SERVER", "BUILD_APP", "CURL", "OPENSSL")


def build(folder: Path) -> Path:
    """Build the tools in `folder` and return the folder of the programs."""
    binaries = folder / "tools" / "bin"
    if all((binaries / name).exists() for name in TOOLS):
        return binaries
    folder.mkdir(parents=True, exist_ok=True)
    source = _source(folder)
    switches = [f"-DLLAMA_{name}=OFF" for name in _LEFT_OUT]
    configure = ["cmake", "-S", str(source), "-B", str(folder / "tools"), "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([*configure, *switches], check=True, stdout=subprocess.DEVNULL)
    make = ["cmake", "--build", str(folder / "tools"), "-j", str(os.cpu_count()), "--target", *TOOLS]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return binaries


def _source(folder: Path) -> Path:
    package = f"llama-cpp-python=={version('llama-cpp-python')}"
    options = ["--no-deps", "--no-binary", "llama-cpp-python", "--dest", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *options, package], check=True)
    [archive] = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
