"""Walks run in another process, which reads the Hub's address when it starts: one for all tests, at one port.

Each test has a Hub of its own at that port, and a cache of its own.
"""

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcourse.family_tree.graph import Edge, Graph
from llmcourse.testing.hub import LoopbackHub

_WALKER = """
import json, os, pickle, sys
from llmcourse.core.errors import LlmcourseError
from llmcourse.family_tree.walk import Options, walk
for line in sys.stdin:
    job = json.loads(line)
    for name in ("HF_TOKEN", "LLMCOURSE_CACHE"):
        os.environ.pop(name, None)
    os.environ.update(job["env"])
    os.chdir(job["folder"])
    told, counts = [], []
    try:
        options = Options(**job["options"])
        found = walk(job["roots"], options, told.append, lambda *numbers: counts.append(numbers))
    except LlmcourseError as error:
        found = error.as_json()
    pickled = pickle.dumps((found, told, counts))
    sys.stdout.buffer.write(len(pickled).to_bytes(8, "big") + pickled)
    sys.stdout.buffer.flush()
"""


@dataclass
class Walk:
    """A walk's result, or its error, with what it told on the way."""

    found: Any
    told: list[str]
    counts: list[tuple[int, int]]

    @property
    def graph(self) -> Graph:
        assert isinstance(self.found, Graph), self.found
        return self.found

    @property
    def error(self) -> dict[str, Any]:
        """The error's exit code and sentences."""
        assert isinstance(self.found, dict), self.found
        return self.found

    @property
    def edges(self) -> set[tuple[str, str, str]]:
        return {(edge.parent, edge.child, edge.relation.value) for edge in self.graph.edges}

    def edge(self, parent: str, child: str) -> Edge:
        return next(edge for edge in self.graph.edges if (edge.parent, edge.child) == (parent, child))

    def findings(self, kind: str) -> list[str]:
        return [finding.sentence for finding in self.graph.findings if finding.kind == kind]


@dataclass
class Walker:
    """Runs walks against the test's Hub."""

    process: "subprocess.Popen[bytes]"
    hub: LoopbackHub
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *roots: str, user: str | None = None, **options: Any) -> Walk:
        env = {"LLMCOURSE_CACHE": str(self.folder / "cache"), **self.env}
        if user is not None:
            env["HF_TOKEN"] = self.hub.tokens[user]
        job = {"roots": roots, "options": options, "env": env, "folder": str(self.folder)}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(job).encode() + b"\n")
        self.process.stdin.flush()
        length = int.from_bytes(self.process.stdout.read(8), "big")
        return Walk(*pickle.loads(self.process.stdout.read(length)))

    @property
    def requests(self) -> int:
        return len(self.hub.requests)


@pytest.fixture(scope="session")
def port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="session")
def walking(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[bytes]"]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLMCOURSE_"))}
    env = {
        **clean,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(tmp_path_factory.mktemp("hf-home")),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", _WALKER]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def hub(tmp_path: Path, port: int) -> Iterator[LoopbackHub]:
    """An empty Hub of its own for this test, at the one port."""
    with LoopbackHub(tmp_path / "hub", port) as hub:
        yield hub


@pytest.fixture
def walk(walking: "subprocess.Popen[bytes]", hub: LoopbackHub, tmp_path: Path) -> Walker:
    folder = tmp_path / "here"
    folder.mkdir()
    return Walker(walking, hub, folder)


@dataclass
class Seed:
    """Puts models on the Hub: their cards' heads as keywords, their files by name."""

    hub: LoopbackHub

    def __call__(self, name: str, files: Mapping[str, str | bytes] | None = None, **head: Any) -> str:
        body = f"---\n{yaml.safe_dump(head)}---\n# {name}\n" if head else f"# {name}\n"
        contents: dict[str, str | bytes] = {
            "README.md": body,
            "config.json": '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}',
            **(files or {}),
        }
        raw = {path: text.encode() if isinstance(text, str) else text for path, text in contents.items()}
        self.hub.repo(name).add_files(raw)
        return name


@pytest.fixture
def seed(hub: LoopbackHub) -> Seed:
    return Seed(hub)
