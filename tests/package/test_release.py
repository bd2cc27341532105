"""The release script in a clone that is thrown away: every refusal, and what a dry run and a tag leave."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.package.installing import ROOT, done, tracked

VERSION = "9.8.7"


def release(clone: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
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
    return subprocess.run(command, capture_output=True, text=True, cwd=clone)


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
    made = {path.name for path in (clone / "dist").glob("llmcourse-*")}
    stem = f"llmcourse-{VERSION}"
    assert made == {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl", f"{stem}.cdx.json"}
    text = (clone / "dist" / f"{stem}.cdx.json").read_text()
    parts = json.loads(text)
    assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.6")
    versions = {part["name"]: part["version"] for part in parts["components"]}
    assert versions["llmcourse"] == VERSION
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert versions["pydantic"] == pins["pydantic"]
    assert "torch" not in versions
    assert str(clone) not in text and "file:" not in text and sys.prefix not in text


@pytest.mark.slow
def test_a_tag_is_made_when_it_is_asked_for_and_only_once(clone: Path) -> None:
    assert release(clone, "--tag").returncode == 0
    assert tags(clone) == [f"v{VERSION}"]
    again = release(clone, "--tag")
    assert (again.returncode, again.stderr.splitlines()[0]) == (1, f"error: The tag v{VERSION} exists.")


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
