"""Which files are large: the Hub's `.gitattributes` rules, plus its 10 MB limit for regular files."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

MAX_REGULAR_BYTES = 10_000_000

_LFS_PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5", "*.joblib"),
    *("*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet"),
    *("*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "saved_model/**/*"),
    *("*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*"),
)
DEFAULT_GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LFS_PATTERNS
)


def lfs_patterns(gitattributes: str) -> list[str]:
    """The patterns that a `.gitattributes` file marks with `filter=lfs`."""
    rows = [line.split() for line in gitattributes.splitlines()]
    return [row[0] for row in rows if "filter=lfs" in row[1:]]


def is_large(path: str, size: int, patterns: Iterable[str]) -> bool:
    """Whether the Hub asks for this file as LFS. A pattern without a slash matches the file's name."""
    if size > MAX_REGULAR_BYTES:
        return True
    name = PurePosixPath(path).name
    return any(fnmatchcase(path if "/" in pattern else name, pattern) for pattern in patterns)
