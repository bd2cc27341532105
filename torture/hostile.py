"""Models that mean harm: names that lead out of their folder, links, files that are not what they say."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torture.ground import Ground, removed
from torture.jobs import CONFIG, Job
from torture.running import Place
from torture.tally import Tally

HOSTILE = "Hostile models"
ABOUT = {
    HOSTILE: (
        "Repositories of the loopback Hub and local folders with names such as `../x`, `/etc/x`, `a\\nb`, "
        "`..\\\\x`, device names, names of 300 bytes, among the files and in the shard index, config, card "
        "and recipe; links that leave the folder; folders in place of files: exit 0, 2, 4 or 5 with both "
        "sentences, and nothing outside the output. Of the Hub's, long jobs get a few that the seed draws."
    ),
}
_NAMES = (
    "../outside.json",
    "../../outside.json",
    "/tmp/llmcourse-outside.json",
    "a\nb.json",
    "..\\outside.json",
    "CON.json",
    "n" * 300 + ".json",
    "-rf.json",
    "a\x1b[31mb.json",
    ".git/config.json",
    "sub/../../outside.json",
    "%2e%2e/outside.json",
)
_TEXTS = (
    "../outside",
    "/etc/passwd",
    "a\nb",
    "..\\outside",
    "n" * 300,
    "\x1b[31mred",
    "$(touch outside)",
    "CON",
    "-rf",
    "\ud800",
)
Files = dict[str, bytes | Path]
_OF_LONG_JOBS = 15


def _hub_cases(model: Path) -> Iterator[tuple[str, Files]]:
    """What a repository of the Hub holds in place of a sound model."""
    whole: Files = {path.name: path for path in model.iterdir()}
    for name in _NAMES:
        yield f"file {name[:30]!r}", {**whole, name: b'{"outside": true}'}
    weights = whole["model.safetensors"]
    without = {name: content for name, content in whole.items() if name != "model.safetensors"}
    for name in ("../outside.safetensors", "/tmp/llmcourse-outside.safetensors", "..\\outside.safetensors"):
        index = {"metadata": {}, "weight_map": {"model.norm.weight": name}}
        yield (
            f"index {name!r}",
            {**without, name: weights, "model.safetensors.index.json": json.dumps(index).encode()},
        )
    yield (
        "recipe",
        {
            **whole,
            "mergekit_config.yml": b"models:\n- model: ../../etc/passwd\n- model: !!python/name:os.system\n",
        },
    )
    card = '---\nbase_model: ["../x", "/etc/passwd", "a/b\\nc"]\nlicense: "[x](javascript:alert(1))"\n---\n'
    yield "card", {**whole, "README.md": card.encode()}
    yield "card without end", {**whole, "README.md": b"---\n" + b"a: [" * 3000}


def _changed_configs(model: Path) -> Iterator[tuple[str, Files]]:
    whole: Files = {path.name: path for path in model.iterdir()}
    config: dict[str, Any] = json.loads((model / "config.json").read_text())
    changes: list[dict[str, Any]] = [
        *({"architectures": [text]} for text in _TEXTS),
        *({"model_type": text} for text in _TEXTS[:3]),
        {"auto_map": {"AutoConfig": "evil.Config"}},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 10**18},
        {"hidden_size": "x"},
        {"vocab_size": 0},
        {"hidden_size": None},
        {"num_attention_heads": 0},
        {"architectures": [["x"]]},
        {"quantization_config": {"quant_method": "../x"}},
        {"quantization_config": 3},
        {"_name_or_path": "/etc/passwd"},
        {"rope_scaling": "x"},
        {"torch_dtype": "../x"},
        {"dtype": 5},
    ]
    for change in changes:
        yield (
            f"config {json.dumps(change)[:60]}",
            {**whole, "config.json": json.dumps(config | change).encode()},
        )
    yield "config deep", {**whole, "config.json": b"[" * 100_000}
    yield "config no UTF-8", {**whole, "config.json": b"\xff\xfe{}"}
    yield "config huge number", {**whole, "config.json": b'{"hidden_size": ' + b"9" * 5000 + b"}"}
    yield "tokenizer deep", {**whole, "tokenizer_config.json": b"[" * 100_000}
    yield "tokenizer torn", {**whole, "tokenizer.json": b'{"model": '}


def _links(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is done to a local copy of the model."""
    yield "link to itself", lambda: (folder / "loop.json").symlink_to("loop.json")
    yield "link out", lambda: (folder / "out.json").symlink_to("/etc/passwd")
    yield "link to nothing", lambda: (folder / "gone.json").symlink_to("/nowhere/gone.json")
    yield "link to a folder", lambda: (folder / "up").symlink_to("..")
    yield "folder for a file", lambda: (folder / "special_tokens_map.json").mkdir()
    yield "pipe", lambda: os.mkfifo(folder / "added_tokens.json")
    yield "config is a pipe", lambda: _replaced(folder / "config.json", os.mkfifo)
    yield (
        "config is a link to a device",
        lambda: _replaced(folder / "config.json", lambda p: p.symlink_to("/dev/zero")),
    )
    yield "weights are a folder", lambda: _replaced(folder / "model.safetensors", Path.mkdir)
    yield "newline", lambda: (folder / "a\nb.json").touch()
    yield "no UTF-8 name", lambda: os.close(os.open(os.fsencode(folder) + b"/\xff.json", os.O_CREAT))


def _replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def hostile(ground: Ground, job: Job, chance: random.Random, tries: int) -> Tally:
    """Whole runs of all cases, or of `tries` of the Hub's and as many of this machine's."""
    tally = Tally(job.command, HOSTILE)
    model = ground.folder_of(job)
    cases = [*_hub_cases(model), *_changed_configs(model)]
    tries = min(tries, _OF_LONG_JOBS) if job.is_long else tries
    chosen = cases if tries >= len(cases) else chance.sample(cases, tries)
    for number, (about, files) in enumerate(chosen):
        repo = f"mallory/m{number}"
        ground.hub.repo(repo).add_files(files)
        _tried(ground, job, repo, about, tally)
        ground.hub.repo(repo).delete()
    for about, _ in list(_links(ground.root / "linked"))[:tries]:
        _linked(ground, job, about, tally)
    return tally


def _tried(ground: Ground, job: Job, model: str, about: str, tally: Tally) -> None:
    place = ground.place(job)
    config = place.folder / CONFIG
    config.write_text(config.read_text().replace(job.model, model))
    tally.see(place.run(job.arguments()), [0, 2, 4, 5], about)
    _nothing_outside(place, job, about, tally)
    removed(place.folder)


def _linked(ground: Ground, job: Job, about: str, tally: Tally) -> None:
    folder = ground.root / "linked"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ground.folder_of(job), folder)
    dict(_links(folder))[about]()
    _tried(ground, job, str(folder), about, tally)


def _nothing_outside(place: Place, job: Job, about: str, tally: Tally) -> None:
    beside = list(place.folder.parent.glob("*outside*"))
    left = [*place.folder.rglob("*outside*"), *Path("/tmp").glob("llmcourse-outside*"), *beside]
    tally.left([str(path) for path in left], about)
    names = {*job.known, job.staging}
    tally.left(place.leftovers(names), about)
