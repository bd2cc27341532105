"""pytest fixtures: the command line as a real process, the tiny models, a loopback Hub and RunPod."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family, build_family
from llmcourse.testing.runpod import LoopbackRunpod

# What a developer's own shell may hold and a test must not see.
_UNWANTED = ("HF_", "HUGGING", "LLMCOURSE_", "NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


@dataclass
class Cli:
    """Runs `llmcourse …` as users do: another process, its own environment, a folder of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    timeout: float = 240  # seconds

    def __call__(
        self, *arguments: str | Path, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> Result:
        process = self.start(*arguments, env=env)
        try:
            stdout, stderr = process.communicate(stdin, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            # Or it would go on computing, in a folder that the next test may have.
            process.kill()
            process.wait()
            raise
        return Result(process.returncode, stdout, stderr)

    def start(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """The same without waiting, for tests that interrupt it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_UNWANTED)}
        return subprocess.Popen(
            [self.python, "-m", "llmcourse", *map(str, arguments)],
            cwd=self.folder,
            env=kept | self.env | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts,
        )


def _hear_interrupts() -> None:
    """A shell's background job ignores SIGINT and hands that on; a test that sends it must be heard."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def llmcourse(tmp_path: Path) -> Cli:
    """The program in an empty folder, without network: every Hub address is refused at once."""
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf-home")}
    return Cli(tmp_path, offline)


@pytest.fixture(scope="session")
def family() -> Family:
    """The trained tiny models; built once per machine and kept."""
    return build_family()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """An empty Hub of its own for this test."""
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def demo_hub(hub: LoopbackHub, family: Family) -> LoopbackHub:
    """A Hub that holds the tiny models under the ids that configs/ use."""
    for repo, folder in ((BASE_ID, family.base), (CODE_ID, family.code), (PROSE_ID, family.prose)):
        hub.repo(repo).add_files({path.name: path for path in folder.iterdir()}, message="Upload")
    hub.clear_requests()
    return hub


@pytest.fixture
def runpod(tmp_path: Path) -> Iterator[LoopbackRunpod]:
    """An account at RunPod whose pods are processes of this machine."""
    with LoopbackRunpod(tmp_path / "runpod") as runpod:
        yield runpod


@pytest.fixture(params=["xet", "lfs"])
def transport(request: pytest.FixtureRequest) -> str:
    """Both ways of moving large files that users have."""
    return str(request.param)


def as_user(cli: Cli, hub: LoopbackHub, user: str | None = "alice", transport: str = "xet") -> Cli:
    """The program logged in to a loopback Hub."""
    home = cli.folder / f"hf-home-{user}"
    return Cli(cli.folder, hub.env(user=user, home=home, xet=transport == "xet"), cli.python)
