"""The release script in a clone that is thrown away: every refusal, what is made, tagged and published."""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from llmcourse.family_tree.formats.html import DAGRE_VERSION
from tests.package.installing import ROOT, done, tracked

VERSION = "9.8.7"


def release(
    clone: Path, *arguments: str, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    script = clone / "scripts" / "release.py"
    command: Sequence[str | Path] = (
        sys.executable,
        script,
        VERSION,
        "--tested",
        "--sbom-extra",
        "",
        *arguments,
    )
    return subprocess.run(command, capture_output=True, text=True, cwd=clone, env=os.environ | (env or {}))


def commit(clone: Path) -> None:
    done("git", "add", "--all", cwd=clone)
    done("git", "commit", "--quiet", "--allow-empty", "--message", "state", cwd=clone)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This tree, as a repository of its own that is ready for a release."""
    folder = tmp_path / "clone"
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    done("git", "init", "--quiet", folder)
    done("git", "config", "user.name", "A Test", cwd=folder)
    done("git", "config", "user.email", "test@example.org", cwd=folder)
    (folder / "src" / "llmcourse" / "__init__.py").write_text(
        f'"""A version."""\n\n__version__ = "{VERSION}"\n'
    )
    changes = folder / "CHANGELOG.md"
    changes.write_text(f"{changes.read_text()}\n## [{VERSION}] - 2030-01-02\n")
    commit(folder)
    return folder


def tags(clone: Path) -> list[str]:
    return done("git", "tag", "--list", cwd=clone).split()


@pytest.mark.slow
def test_a_dry_run_makes_the_archives_and_a_list_of_parts_and_no_tag(clone: Path) -> None:
    ended = release(clone)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("dry run: no tag, nothing published\n")
    assert tags(clone) == []
    stem = f"llmcourse-{VERSION}"
    assert set(made(clone)) == {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl", f"{stem}.cdx.json"}
    text = (clone / "dist" / f"{stem}.cdx.json").read_text()
    parts = json.loads(text)
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.6")
    whole = parts["metadata"]["component"]
    assert (whole["name"], whole["version"], whole["licenses"][0]["license"]["id"]) == (
        "llmcourse",
        VERSION,
        "Apache-2.0",
    )
    made_at = int(done("git", "log", "-1", "--format=%ct", cwd=clone))
    assert datetime.fromisoformat(parts["metadata"]["timestamp"]).timestamp() == made_at
    versions = {part["name"]: part["version"] for part in parts["components"]}
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert versions["pydantic"] == pins["pydantic"]
    assert versions["dagre"] == DAGRE_VERSION
    assert "torch" not in versions and "llmcourse" not in versions
    needed = {entry["ref"]: entry.get("dependsOn", []) for entry in parts["dependencies"]}
    assert {"typer", "dagre"} <= {re.sub(r".*/|[=@].*", "", ref) for ref in needed[whole["bom-ref"]]}
    assert str(clone) not in text and "file:" not in text and sys.prefix not in text


@pytest.mark.slow
def test_a_tag_is_made_when_it_is_asked_for_and_is_not_moved(clone: Path) -> None:
    assert release(clone, "--tag").returncode == 0
    assert tags(clone) == [f"v{VERSION}"]
    commit(clone)
    again = release(clone, "--tag")
    assert again.returncode == 1
    assert again.stderr.splitlines()[0] == f"error: The tag v{VERSION} is on another commit."


def made(clone: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (clone / "dist").glob("llmcourse-*")}


@dataclass
class Index:
    """Takes uploads as PyPI's upload address does, or refuses them."""

    status: int = 200
    uploads: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            name = re.search(rb'filename="([^"]+)"', body)
            assert name
            index.uploads.append((name[1].decode(), self.headers["Authorization"]))
            self.send_response(index.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        index.address = f"http://127.0.0.1:{server.server_port}/legacy/"
        yield index
        server.shutdown()


@pytest.mark.slow
def test_a_publication_that_failed_is_done_by_the_same_command(clone: Path, index: Index) -> None:
    env = {"UV_PUBLISH_URL": index.address, "UV_PUBLISH_TOKEN": "pypi-secret"}
    index.status = 403
    refused = release(clone, "--publish", env=env)
    assert refused.returncode == 1
    assert "uv publish" in refused.stderr and "403" in refused.stderr
    assert "published:" not in refused.stdout and "pypi-secret" not in refused.stdout + refused.stderr
    before = made(clone)
    index.status = 200
    index.uploads.clear()
    ended = release(clone, "--publish", env=env)
    assert ended.returncode == 0, ended.stderr
    assert f"published: llmcourse {VERSION}; push the tag: git push origin v{VERSION}" in ended.stdout
    stem = f"llmcourse-{VERSION}"
    assert {name for name, _ in index.uploads} == {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl"}
    token = b64encode(b"__token__:pypi-secret").decode()
    assert {rights for _, rights in index.uploads} == {f"Basic {token}"}
    assert tags(clone) == [f"v{VERSION}"]
    # What was refused and what was taken is the same to the byte.
    assert made(clone) == before


def test_what_is_not_committed_is_refused(clone: Path) -> None:
    (clone / "README.md").write_text("changed")
    refused = release(clone)
    assert refused.returncode == 1
    assert "error: There are changes that are not committed." in refused.stderr
    assert not (clone / "dist").exists()


@pytest.mark.parametrize(
    ("name", "old", "error"),
    [
        ("src/llmcourse/__init__.py", VERSION, "has another version than"),
        ("CHANGELOG.md", f"[{VERSION}] - 2030-01-02", "has no dated section for"),
    ],
)
def test_a_version_that_is_not_ready_is_refused(clone: Path, name: str, old: str, error: str) -> None:
    path = clone / name
    path.write_text(path.read_text().replace(old, "0.0.0"))
    commit(clone)
    refused = release(clone, "--tag")
    assert refused.returncode == 1
    assert error in refused.stderr
    assert tags(clone) == []
