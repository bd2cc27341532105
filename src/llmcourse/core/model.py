"""A model seen through its metadata: configuration, tensor shapes, file sizes, card. Never its weights.

A model is named as users of mergekit and `hf` name it: a folder, `user/repo`, `user/repo@revision` or
`hf://user/repo@revision`.  The same reading serves local folders and Hub repositories; only the three
primitive reads of `ModelFiles` differ, and those of the Hub live in `core.hub`.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.core.card_head import card_metadata
from llmcourse.core.errors import PlanError, check_path
from llmcourse.core.headers import safetensors_header
from llmcourse.core.shard_index import check_index, indexed_files

# In mergekit's order of preference (mergekit 0.1.5, io/lazy_tensor_loader.py).
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_WANTED = "Give a model in Hugging Face format: config.json and safetensors."
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_CACHE_PATH = re.compile(r"models--([^/\\]+)--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})$")


def expanded(path: str) -> Path:
    """A path with ~ replaced; one of an unknown user is left as it is, and will not be found."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_hub_id(text: str) -> bool:
    return _HUB_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class ModelRef:
    """A local folder, or a Hub repository at a revision (None for its default branch)."""

    path: str
    revision: str | None = None
    is_local: bool = False

    @classmethod
    def parse(cls, text: str) -> "ModelRef":
        """Read a reference as written; what exists as a folder is a folder, as mergekit decides it."""
        if text.startswith("hf://"):
            path, _, revision = text.removeprefix("hf://").partition("@")
            return cls(path, revision or None)
        if expanded(text).exists():
            return cls(text, None, is_local=True)
        path, _, revision = text.partition("@")
        looks_local = path.startswith(("/", ".", "~")) or path.count("/") > 1 or "\\" in path
        if looks_local or Path(path).exists():
            return cls(path, None, is_local=True)
        return cls(path, revision or None)

    @property
    def folder(self) -> Path:
        return expanded(self.path)

    @property
    def place(self) -> Path:
        """The folder with its own name at the end, also where it was written as `..`."""
        return Path(os.path.abspath(self.folder))  # noqa: PTH100  (resolve() would follow links)

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}" if self.revision else self.path


@dataclass(frozen=True)
class Tensor:
    """`dtype` in safetensors' spelling (BF16, F32, …); `nbytes` as stored; `file` that holds it."""

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    file: str


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before any of its weights is read.

    `config` is config.json, or adapter_config.json for an adapter.  `tensors` is empty for pickled
    weights, whose names cannot be known without unpickling.
    """

    ref: ModelRef
    revision: str | None
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    weight_files: tuple[str, ...]
    files: Mapping[str, int] = field(repr=False)
    card: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_adapter: bool = False
    is_pickled: bool = False
    hub_id: str | None = None  # the repository it is, or came from
    stamps: tuple[tuple[str, int, int], ...] = ()  # name, size, modification time of local files
    missing_bytes: int = 0  # of its files, those not on this machine yet
    content: str = ""  # a hash of its files' hashes but its card's, where the Hub told them

    @property
    def architecture(self) -> str:
        named = self.config.get("architectures")
        if isinstance(named, list) and named:
            return str(named[0])
        return str(named if isinstance(named, str) else self.config.get("model_type", "unknown"))

    @property
    def name(self) -> str:
        """Of its repository, else of its folder; without what shells and URLs trip over."""
        name = self.hub_id.rpartition("/")[2] if self.hub_id else self.ref.place.name
        return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"

    @property
    def weight_bytes(self) -> int:
        return sum(self.files[name] for name in self.weight_files)

    @property
    def identity(self) -> Any:
        """What a result depends on: the files but the card, by hash; else the commit, or sizes and times.

        So a commit that changes the card, or adds figures of an evaluation, makes no other model.
        """
        return self.content or self.revision or self.stamps


class ModelFiles(Protocol):
    """The three reads that a place of models offers."""

    @property
    def sizes(self) -> Mapping[str, int]: ...
    def text(self, name: str) -> str: ...
    def span(self, name: str, start: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class Origin:
    """Where the files are from."""

    revision: str | None = None
    hub_id: str | None = None
    card: Mapping[str, Any] | None = None
    stamps: tuple[tuple[str, int, int], ...] = ()


class LocalFiles:
    """A folder on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")

    def span(self, name: str, start: int, length: int) -> bytes:
        with (self.folder / name).open("rb") as file:
            file.seek(start)
            return file.read(length)


def read_local(ref: ModelRef) -> ModelFacts:
    """Read a folder's metadata.

    Raises:
        PlanError: the folder is missing, is no model, or its index or headers are damaged.
    """
    folder = ref.folder
    if folder.is_file():
        raise PlanError(f"{ref} is a file.", f"{_WANTED} Give its folder, or a Hub id.", where=str(ref))
    if not folder.is_dir():
        raise PlanError(f"There is no model folder {ref.path!r}.", check_path(folder), where=str(ref))
    return read_model(ref, LocalFiles(folder), replace(_local_origin(folder), stamps=_stamps(folder)))


def _stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Modification times take the place of a commit; cards and our manifest change without the model."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    kept = [path for path in files if path.suffix != ".md" and path.name != MANIFEST_NAME]
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in kept)


def read_model(ref: ModelRef, files: ModelFiles, origin: Origin) -> ModelFacts:
    """Assemble the facts of one model from the reads its place offers."""
    is_adapter = "config.json" not in files.sizes and "adapter_config.json" in files.sizes
    config = _json(ref, files, "adapter_config.json" if is_adapter else "config.json")
    wanted = _ADAPTER_WEIGHTS if is_adapter else _WEIGHTS
    weight_files, weight_map, index = _weight_files(ref, files, wanted)
    is_pickled = not weight_files[0].endswith(".safetensors")
    tensors = {} if is_pickled else _tensors(ref, files, weight_files, weight_map, index)
    card = origin.card if origin.card is not None else _card(files)
    return ModelFacts(
        ref, origin.revision, config, tensors, weight_files, files.sizes, card, is_adapter, is_pickled,
        origin.hub_id, origin.stamps,
    )  # fmt: skip


def _json(ref: ModelRef, files: ModelFiles, name: str) -> dict[str, Any]:
    if name not in files.sizes:
        raise PlanError(_what_instead(ref, files, name), _WANTED, where=str(ref))
    try:
        data = json.loads(files.text(name))
    except (ValueError, RecursionError) as error:
        raise PlanError(
            f"{name} of {ref} is damaged: {error}.", "Download or write it again.", str(ref)
        ) from None
    if not isinstance(data, dict):
        raise PlanError(f"{name} of {ref} is not a JSON object.", "Download or write it again.", str(ref))
    return data


def _what_instead(ref: ModelRef, files: ModelFiles, name: str) -> str:
    """What a place is that is no model in Hugging Face format."""
    if "model_index.json" in files.sizes:
        return f"{ref} is a diffusion pipeline, not a language model."
    if any(file.endswith(".gguf") for file in files.sizes):
        return f"{ref} holds GGUF files, which are quantized already."
    return f"{ref} has no {name}."


def _weight_files(
    ref: ModelRef, files: ModelFiles, candidates: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, Any], str]:
    """The weight files; where there are several, what their index says of each tensor, and its name."""
    for name in candidates:
        index = f"{name}.index.json"
        if index in files.sizes:
            found = _json(ref, files, index).get("weight_map")
            weight_map = found if isinstance(found, dict) else {}
            return indexed_files(ref, files, weight_map), weight_map, index
        if name in files.sizes:
            return (name,), {}, ""
    what = _what_instead(ref, files, f"weights that can be read ({' or '.join(candidates)})")
    raise PlanError(what, _WANTED, where=str(ref))


def _tensors(
    ref: ModelRef, files: ModelFiles, weight_files: tuple[str, ...], weight_map: Mapping[str, Any], index: str
) -> dict[str, Tensor]:
    held: dict[str, dict[str, Tensor]] = {}
    for name in weight_files:
        tensors = held[name] = {}
        try:
            header = safetensors_header(files, name)
            for key, entry in header.items():
                start, end = entry["data_offsets"]
                tensors[key] = Tensor(tuple(entry["shape"]), entry["dtype"], end - start, name)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PlanError(
                f"{name} of {ref} is not a whole safetensors file ({error}).",
                "Download or write it again.",
                where=str(ref),
            ) from None
    if index:
        check_index(ref, index, weight_map, held)
        return {key: held[str(file)][key] for key, file in weight_map.items()}
    return {key: tensor for tensors in held.values() for key, tensor in tensors.items()}


def _card(files: ModelFiles) -> dict[str, Any]:
    if "README.md" not in files.sizes:
        return {}
    try:
        return card_metadata(files.text("README.md"))
    except UnicodeDecodeError:
        return {}


def _local_origin(folder: Path) -> Origin:
    """The Hub repository a folder came from: the client's cache layout, or our own manifest, says it."""
    cached = _CACHE_PATH.search(str(folder.absolute()))
    if cached:
        return Origin(hub_id=f"{cached[1]}/{cached[2]}")
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        try:
            repo = json.loads(manifest.read_text(encoding="utf-8"))["hub"]["repo"]
        except (ValueError, KeyError, TypeError):
            return Origin()  # not pushed, or not ours
        return Origin(hub_id=repo if isinstance(repo, str) and is_hub_id(repo) else None)
    return Origin()
