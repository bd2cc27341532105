"""A folder of this machine as a member of a family: what its card, its manifest and its files say."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from llmcourse.core.artifact import MANIFEST_NAME
from llmcourse.core.card_head import card_metadata
from llmcourse.core.headers import safetensors_header
from llmcourse.core.model import LocalFiles, expanded
from llmcourse.core.parameters import parameter_count
from llmcourse.family_tree.evidence import (
    ADAPTER,
    CONFIG,
    GGUF_BYTES,
    GPTQ,
    README,
    Claim,
    claims_of_file,
    claims_of_metadata,
    problem_of_file,
)
from llmcourse.family_tree.recipes import RECIPE_NAMES

_MAX_BYTES = 4_000_000


@dataclass(frozen=True)
class LocalModel:
    """`id` is the path as it was written; the rest is as the Hub would describe it."""

    id: str
    folder: Path
    files: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    relation: str | None = None
    base_models: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """What of its files cannot be understood, in one sentence; empty where all can."""
        names = [n for n in (README, *RECIPE_NAMES, ADAPTER, GPTQ, CONFIG, MANIFEST_NAME) if n in self.files]
        found = [said for name in names if (said := problem_of_file(name, _text(self.folder / name)))]
        return f"{self.id}: what cannot be read is {' and '.join(found)}." if found else ""

    @classmethod
    def read(cls, path: str) -> "LocalModel | None":
        """The folder, None where there is none or where it holds nothing that tells of a model."""
        folder = expanded(path)
        try:
            names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_file()))
        except OSError:
            return None
        telling = {README, MANIFEST_NAME, CONFIG, ADAPTER, GPTQ, *RECIPE_NAMES}
        if not any(name in telling or name.endswith((".gguf", ".safetensors")) for name in names):
            return None
        card = card_metadata(_text(folder / README)) if README in names else {}
        return cls(path, folder, names, card, _json(folder / CONFIG) if CONFIG in names else {})

    @property
    def tags(self) -> tuple[str, ...]:
        tags = self.card.get("tags")
        return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()

    @property
    def library(self) -> str | None:
        library = self.card.get("library_name")
        return library if isinstance(library, str) else None

    @cached_property
    def parameters(self) -> int | None:
        """From the headers of its safetensors files."""
        files, numbers = LocalFiles(self.folder), Counter[str]()
        for name in self.files:
            if not name.endswith(".safetensors"):
                continue
            try:
                header = safetensors_header(files, name)
                for entry in header.values():
                    numbers[str(entry["dtype"])] += prod(entry["shape"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                return None
        quantization = self.config.get("quantization_config")
        return parameter_count(numbers, quantization if isinstance(quantization, dict) else {}) or None

    def claims(self) -> list[Claim]:
        """Everything its files say; opening them costs nothing here."""
        claims = claims_of_metadata(self)
        wanted = [name for name in (*RECIPE_NAMES, README, ADAPTER, GPTQ) if name in self.files]
        for name in wanted:
            if name == README and any(claim.evidence in RECIPE_NAMES for claim in claims):
                continue
            claims += claims_of_file(name, _text(self.folder / name), self)
        if all(claim.is_tentative for claim in claims):
            claims += self._last_claims()
        return claims

    def _last_claims(self) -> list[Claim]:
        if MANIFEST_NAME in self.files:
            return claims_of_file(MANIFEST_NAME, _text(self.folder / MANIFEST_NAME), self)
        for name in self.files:
            if name.endswith(".gguf"):
                return claims_of_file(name, _start(self.folder / name), self)
        return []

    def neighbour(self, name: str) -> str | None:
        """The folder of another model that this one names: by its path, or one beside it by its name."""
        places = [name] if "/" in name or "\\" in name else [str(Path(self.id).parent / name)]
        for place in places:
            try:
                found = expanded(place)
                is_other = found.is_dir() and found.resolve() != self.folder.resolve()
            except (OSError, ValueError):
                continue  # no name that a disk could have
            if is_other and LocalModel.read(place) is not None:
                return place
        return None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(GGUF_BYTES)
    except OSError:
        return b""


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
