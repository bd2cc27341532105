"""A short real job for each command.

quantize-exl2 needs a GPU; its job is the program with the stand-in for exllamav2's converter that its tests
use.  A job for another command is one more entry in JOBS.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmcourse.testing.models import CODE_ID, PROSE_ID
from torture.ground import OUTPUT, SMALL_ID, STAND_IN_ID, TREE_ID, Digests, Ground

CONFIG = "job.yaml"


@dataclass(frozen=True)
class Job:
    """One command on small inputs.

    `settings` gives its config, in which `model` is the id of the model that is replaced by hostile ones;
    `overrides` go on its command line, and those of `publishing` where it publishes to a repository, whose
    name they have as {repo}.  `digests` says what must come out alike each time: hashes of files, without
    what tells times.
    """

    command: str
    model: str
    settings: Callable[[Ground], dict[str, Any]]
    digests: Callable[[Path], Digests]
    overrides: tuple[str, ...] = ()
    publishing: tuple[str, ...] = ()
    is_stand_in: bool = False
    is_long: bool = False  # a quarter of a minute, of which most is the loading of libraries

    @property
    def has_five_steps(self) -> bool:
        """Whether it makes one result, with a staging folder and a lock."""
        return self.command not in ("family-tree", "run")

    @property
    def can_plan(self) -> bool:
        """Whether it has --dry-run, with which nothing is written."""
        return self.command != "family-tree"

    @property
    def publishes_figures(self) -> bool:
        """Whether what it publishes are small files, which go to more places than its own repository."""
        return self.command == "autoeval"

    @property
    def can_publish(self) -> bool:
        return self.command != "family-tree"

    def write(self, ground: Ground, folder: Path) -> None:
        (folder / CONFIG).write_text(json.dumps(self.settings(ground), indent=1), encoding="utf-8")

    def arguments(self, output: str = OUTPUT, push: str | None = None) -> tuple[str, ...]:
        overrides = (*self.overrides, *(word.format(repo=push) for word in self.publishing if push))
        if self.is_stand_in:
            request = {"config": CONFIG, "overrides": overrides, "output": output, "push": push}
            return (
                "-m", "tests.quantize_exl2.program", "tests.quantize_exl2.stand_in_run", json.dumps(request)
            )  # fmt: skip
        pushed = ("--push", push) if push and self.has_five_steps else ()
        return ("-m", "llmcourse", self.command, CONFIG, *overrides, "-o", output, *pushed)

    @property
    def staging(self) -> str:
        """What lies beside its output while it is not finished."""
        return f".{OUTPUT}.llmcourse"

    @property
    def known(self) -> set[str]:
        """What lies in its folder when all is well."""
        return {CONFIG, OUTPUT}


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


JOBS = {
    job.command: job
    for job in (
        Job(
            "merge",
            CODE_ID,
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
            SMALL_ID,
            lambda ground: {"model": SMALL_ID, "types": ["Q8_0", "Q4_K_M"], "quality": None},
            _hashed("*.gguf"),
        ),
        Job(
            "quantize-gptq",
            SMALL_ID,
            lambda ground: {
                "model": SMALL_ID,
                "bits": 4,
                "group_size": 32,
                "calibration": {"text": str(ground.calibration), "samples": 4, "length": 128},
            },
            _tensors,
            is_long=True,
        ),
        Job(
            "quantize-exl2",
            STAND_IN_ID,
            lambda ground: {"model": STAND_IN_ID, "bits_per_weight": [3.0, 4.25]},
            _hashed("*/*.safetensors", "*/config.json", "measurement.json"),
            is_stand_in=True,
        ),
        Job(
            "autoeval",
            SMALL_ID,
            lambda ground: {
                "model": SMALL_ID,
                "tasks": ["tiny_word", "tiny_text"],
                "runtime": {"batch_size": 16},
            },
            _figures,
            is_long=True,
            publishing=("publish.hub=true", "publish.gist=private", "publish.leaderboard={repo}-board"),
        ),
        Job(
            "family-tree",
            TREE_ID,
            lambda ground: {"model": TREE_ID, "direction": "up", "formats": ["html", "json", "mermaid"]},
            _hashed("**/*"),
        ),
        Job(
            "run",
            CODE_ID,
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
            publishing=("steps.merge.push={repo}-${{matrix.dtype}}",),
        ),
    )
}
