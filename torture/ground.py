"""What all jobs run on: small models, a Hub and a GitHub of this machine, and what undisturbed runs make."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tests.model_folders import llama_config, llama_shapes, write_model

from llmcourse.core.cache import cache_folder
from llmcourse.testing.families import seed_family
from llmcourse.testing.github import LoopbackGitHub
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_family
from torture.running import Place

if TYPE_CHECKING:
    from torture.jobs import Job

OUTPUT = "out"
SMALL_ID = "alice/small"  # half the layers of the tiny model, in 32 bits
STAND_IN_ID = "alice/llama-for-the-stand-in"
TREE_ID = "alice/descendant"
_LAYERS = 2
Digests = dict[str, str]


@dataclass(frozen=True)
class Undisturbed:
    """What a run makes when nothing is broken, how long it takes, and how often it asks for weight files
    (their headers) before it downloads them."""

    digests: Digests
    seconds: float
    headers: int


@dataclass
class Ground:
    """What all jobs share. The Hub and the GitHub answer in this process."""

    root: Path
    hub: LoopbackHub
    github: LoopbackGitHub
    family: Family
    folders: Mapping[str, Path]  # what each model of the Hub was made from
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)
    _count: int = 0

    def place(self, job: "Job", **env: str) -> Place:
        """A new folder with the job's config, a Hub cache and a home of its own."""
        self._count += 1
        folder = self.root / f"{self._count:04d}-{job.command}"
        home = folder.with_name(f"{folder.name}.home")
        home.mkdir(parents=True)
        cache = folder.with_name(f"{folder.name}.cache")
        cache.mkdir()
        for name in ("llama.cpp", "lm-eval"):  # fetched and indexed once per machine
            if (cache_folder() / name).is_dir():
                (cache / name).symlink_to(cache_folder() / name)
        hub = self.hub.env(user="alice", home=home / "hf", xet=False)
        ours = {**hub, **self.github.env(), "HOME": str(home), "LLMCOURSE_CACHE": str(cache)}
        place = Place(folder, {**ours, **env})
        job.write(self, folder)
        return place

    def expected(self, job: "Job") -> Undisturbed:
        """What an undisturbed run makes; it is made once."""
        if job.command not in self._undisturbed:
            place = self.place(job)
            before, begin = len(self.hub.requests), time.monotonic()
            ended = place.run(job.arguments())
            seconds = time.monotonic() - begin
            if ended.code != 0:
                raise RuntimeError(f"{job.command} fails undisturbed: {ended.last_words}")
            made = job.digests(place.folder / OUTPUT)
            asked = [each for each in self.hub.requests[before:] if each.path.endswith(".safetensors")]
            headers = [each for each in asked if each.method == "GET" and not each.weight_bytes]
            self._undisturbed[job.command] = Undisturbed(made, seconds, len(headers))
            removed(place.folder)
        return self._undisturbed[job.command]

    def folder_of(self, job: "Job") -> Path:
        """The model that hostile ones are made from; for a tree, whose own is a card, a whole one too."""
        return self.folders.get(job.model, self.family.base)

    @cached_property
    def calibration(self) -> Path:
        path = self.root / "calibration.txt"
        path.write_text(self.family.eval_texts["prose"][:60_000], encoding="utf-8")
        return path


@contextmanager
def ground(root: Path) -> Iterator[Ground]:
    family = build_family()
    folders = {
        BASE_ID: family.base,
        CODE_ID: family.code,
        PROSE_ID: family.prose,
        SMALL_ID: _small(family.base, root / "models" / "small"),
        STAND_IN_ID: _for_the_stand_in(root / "models" / "llama", root / "calls"),
    }
    with LoopbackHub(root / "hub") as hub, LoopbackGitHub() as github:
        for repo, folder in folders.items():
            hub.repo(repo).add_files({path.name: path for path in folder.iterdir()}, message="Upload")
        first = seed_family(hub, (1, 3, 6))[0]
        card = f"---\nbase_model: {first}\nlicense: apache-2.0\n---\n# A descendant\n"
        hub.repo(TREE_ID).add_files({"README.md": card.encode(), "config.json": b'{"model_type": "llama"}'})
        yield Ground(root, hub, github, family, folders)


def _small(source: Path, folder: Path) -> Path:
    """The first layers of a model in bfloat16, widened: processors that know no such numbers are quick."""
    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header, content = dict[str, Any](), list[bytes]()
    end = 0
    for name, entry in json.loads(raw[8:begin]).items():
        if name == "__metadata__" or _layer(name) >= _LAYERS:
            continue
        first, last = entry["data_offsets"]
        narrow = np.frombuffer(raw[begin + first : begin + last], np.uint16)
        content.append((narrow.astype(np.uint32) << 16).tobytes())
        header[name] = {
            "dtype": "F32",
            "shape": entry["shape"],
            "data_offsets": [end, end + len(content[-1])],
        }
        end += len(content[-1])
    told = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(told).to_bytes(8, "little") + told + b"".join(content))
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": _LAYERS, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def _layer(name: str) -> int:
    """Of which layer a tensor is; -1 for one that is of none."""
    parts = name.split(".")
    return int(parts[2]) if parts[1] == "layers" else -1


def _for_the_stand_in(folder: Path, log: Path) -> Path:
    """A model of two layers, large enough to be cut in the middle, that tells the stand-in what to do."""
    sizes = {"hidden": 64, "vocab": 2048}
    write_model(folder, card="---\nlicense: apache-2.0\n---\n", shapes=llama_shapes(**sizes))
    config = llama_config(**sizes) | {"stand_in": {"log": str(log), "seconds": 0.2}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def removed(folder: Path) -> None:
    """Give back the space of places that are no longer looked at."""
    for path in (folder, *folder.parent.glob(f"{folder.name}.*")):
        if path.is_dir() and not os.path.ismount(path):
            shutil.rmtree(path, ignore_errors=True)
