"""A short real job for each command, and the ground they run on: tiny models, a Hub of this machine, texts.

quantize-exl2 needs a GPU; its job is the program with the stand-in for exllamav2's converter that its tests
use.  A job for another command is one more entry in JOBS.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.quantize_exl2.builders import write_llama

from llmcourse.core.cache import cache_folder
from llmcourse.testing.families import seed_family
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_family
from torture.running import Place

Digests = dict[str, str]
CONFIG = "job.yaml"
OUTPUT = "out"
_TREE_ID = "alice/descendant"


@dataclass
class Ground:
    """What all jobs share. The Hub answers in this process."""

    root: Path
    hub: LoopbackHub
    family: Family
    undisturbed: dict[str, tuple[Digests, float]] = field(default_factory=dict)
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
        place = Place(folder, {**hub, "HOME": str(home), "LLMCOURSE_CACHE": str(cache), **env})
        job.write(self, folder)
        return place

    def expected(self, job: "Job") -> tuple[Digests, float]:
        """What an undisturbed run makes, and how long it takes, in seconds."""
        if job.command not in self.undisturbed:
            place = self.place(job)
            started = place.start(job.arguments())
            begin = time.monotonic()
            ended = started.ended()
            seconds = time.monotonic() - begin
            if ended.code != 0:
                raise RuntimeError(f"{job.command} fails undisturbed: {ended.last_words}")
            self.undisturbed[job.command] = (job.digests(place.folder / OUTPUT), seconds)
        return self.undisturbed[job.command]


@contextmanager
def ground(root: Path) -> Iterator[Ground]:
    family = build_family()
    with LoopbackHub(root / "hub") as hub:
        for repo, folder in ((BASE_ID, family.base), (CODE_ID, family.code), (PROSE_ID, family.prose)):
            hub.repo(repo).add_files({path.name: path for path in folder.iterdir()}, message="Upload")
        first = seed_family(hub, (1, 3, 6))[0]
        card = f"---\nbase_model: {first}\nlicense: apache-2.0\n---\n# A descendant\n"
        hub.repo(_TREE_ID).add_files({"README.md": card.encode(), "config.json": b'{"model_type": "llama"}'})
        yield Ground(root, hub, family)


@dataclass(frozen=True)
class Job:
    """One command on small inputs.

    `settings` gives its config, `overrides` go on its command line.  `digests` says what must come out alike
    each time: hashes of files, without what tells times.
    """

    command: str
    settings: Callable[[Ground], dict[str, Any]]
    digests: Callable[[Path], Digests]
    overrides: tuple[str, ...] = ()
    is_stand_in: bool = False

    @property
    def has_five_steps(self) -> bool:
        """Whether it makes one result, with a staging folder and a lock."""
        return self.command not in ("family-tree", "run")

    @property
    def can_plan(self) -> bool:
        """Whether it has --dry-run, with which nothing is written."""
        return self.command != "family-tree"

    def write(self, ground: Ground, folder: Path) -> None:
        settings = self.settings(ground)
        if self.is_stand_in:
            write_llama(folder / "llama", log=str(ground.root / "calls"), seconds=0.2)
        (folder / CONFIG).write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def arguments(self, output: str = OUTPUT, push: str | None = None) -> tuple[str, ...]:
        if self.is_stand_in:
            request = {"config": CONFIG, "overrides": self.overrides, "output": output, "push": push}
            return (
                "-m", "tests.quantize_exl2.program", "tests.quantize_exl2.stand_in_run", json.dumps(request)
            )  # fmt: skip
        pushed = ("--push", push) if push and self.has_five_steps else ()
        return ("-m", "llmcourse", self.command, CONFIG, *self.overrides, "-o", output, *pushed)

    def known(self, place: Place) -> set[str]:
        """What lies in its folder when all is well."""
        return {CONFIG, OUTPUT} | ({"llama"} if self.is_stand_in else set())


def _hashed(*patterns: str) -> Callable[[Path], Digests]:
    def digests(folder: Path) -> Digests:
        paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        }

    return digests


def _tensors(folder: Path) -> Digests:
    """Tensor by tensor: after a kill between layers gptqmodel writes them in another order."""
    found = _hashed("config.json")(folder)
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        begin = 8 + int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:begin]).items():
            if name != "__metadata__":
                start, end = entry.pop("data_offsets")
                content = json.dumps(entry).encode() + raw[begin + start : begin + end]
                found[f"{path.name}: {name}"] = hashlib.sha256(content).hexdigest()
    return found


def _figures(folder: Path) -> Digests:
    """The figures of each task; its file tells times too."""
    found = {}
    for path in sorted(folder.glob("tasks/**/*.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        found[path.relative_to(folder).as_posix()] = json.dumps([told["metrics"], told["stderr"]])
    return found


def _calibration(ground: Ground) -> dict[str, Any]:
    text = ground.root / "calibration.txt"
    if not text.exists():
        text.write_text(ground.family.eval_texts["prose"][:60_000], encoding="utf-8")
    return {"text": str(text), "samples": 8, "length": 128}


JOBS = {
    job.command: job
    for job in (
        Job(
            "merge",
            lambda ground: {
                "models": [{"model": name, "parameters": {"weight": 0.5}} for name in (CODE_ID, PROSE_ID)],
                "merge_method": "linear",
                "dtype": "bfloat16",
            },
            _hashed("*.safetensors", "config.json", "tokenizer*"),
            ("options.out_shard_size=500k",),
        ),
        Job(
            "quantize-gguf",
            lambda ground: {"model": BASE_ID, "types": ["Q8_0", "Q4_K_M"], "quality": None},
            _hashed("*.gguf"),
        ),
        Job(
            "quantize-gptq",
            lambda ground: {
                "model": BASE_ID,
                "bits": 4,
                "group_size": 32,
                "calibration": _calibration(ground),
            },
            _tensors,
        ),
        Job(
            "quantize-exl2",
            lambda ground: {"model": "llama", "bits_per_weight": [3.0, 4.25]},
            _hashed("*/*.safetensors", "*/config.json", "measurement.json"),
            is_stand_in=True,
        ),
        Job("autoeval", lambda ground: {"model": BASE_ID, "suite": "tiny"}, _figures),
        Job(
            "family-tree",
            lambda ground: {"model": _TREE_ID, "direction": "up", "formats": ["html", "json", "mermaid"]},
            _hashed("**/*"),
        ),
        Job(
            "run",
            lambda ground: {
                "matrix": {"dtype": ["bfloat16", "float16"]},
                "steps": {
                    "merge": {
                        "with": {
                            "models": [{"model": CODE_ID, "parameters": {"weight": 1}}],
                            "merge_method": "linear",
                            "dtype": "${matrix.dtype}",
                        }
                    },
                    "family-tree": {"with": {"model": "${merge}", "formats": ["mermaid"]}},
                },
            },
            _hashed("*/*.safetensors", "*/tokenizer*"),
        ),
    )
}


def removed(folder: Path) -> None:
    """Give back the space of places that are no longer looked at."""
    for path in (folder, *folder.parent.glob(f"{folder.name}.*")):
        if path.is_dir() and not os.path.ismount(path):
            shutil.rmtree(path, ignore_errors=True)
