"""What becomes of a result after it was made: on the Hub, at other places, or nowhere if incomplete."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.plugin import Result

ROOT = Path(__file__).parents[2]
REPO = "alice/figures"
Figures = Callable[..., Result]


@pytest.fixture
def figures(hub: LoopbackHub, tmp_path: Path) -> Figures:
    """The command `figures` as a process; keywords are overrides, `no_push` and `force` options."""
    (tmp_path / "failing").write_text("")
    (tmp_path / "f.yaml").write_text(
        f"{{output: out, failing: failing, gist: service, hub: {{repo: {REPO}, private: true}}}}"
    )
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    env = {**os.environ, **hub.env(home=tmp_path / "home"), "PYTHONPATH": path}

    def run(**options: Any) -> Result:
        request: dict[str, Any] = {key: options.pop(key) for key in ("no_push", "force") if key in options}
        request |= {"config": "f.yaml", "overrides": [f"{key}={value}" for key, value in options.items()]}
        command = [sys.executable, "-m", "tests.core.figures.program", json.dumps(request)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def asked(tmp_path: Path) -> list[Any]:
    """What the service was told, in order."""
    return [json.loads(path.read_text()) for path in sorted((tmp_path / "service").iterdir())]


def test_other_places_come_after_the_hub_and_their_addresses_stay_here(
    figures: Figures, hub: LoopbackHub, tmp_path: Path
) -> None:
    (tmp_path / "service").mkdir()
    said = figures()
    assert said.exit_code == 0, said.stderr
    repo = hub.repo(REPO, "dataset")
    head = repo.commits()[0].oid
    assert said.json["reference"] == f"hf://datasets/{REPO}@{head}"
    assert asked(tmp_path) == [{"pieces": ["a", "b"], "hub": head}]
    assert said.json["published"] == {"gist": "https://gist.example/secret"}
    assert "secret" in (tmp_path / "out" / "llmcourse.json").read_text()
    assert "secret" not in repo.read("llmcourse.json").decode()
    assert figures().json["published"] == said.json["published"]
    assert repo.commits()[0].oid == head  # also when the address was known before the push


def test_what_could_not_be_published_is_kept_and_published_by_the_same_command(
    figures: Figures, hub: LoopbackHub, tmp_path: Path
) -> None:
    failed = figures()
    assert failed.exit_code == 6 and failed.json["error"]["what"] == "The service is away."
    assert set(hub.repo(REPO, "dataset").files()) > {"a.json", "b.json"}
    (tmp_path / "service").mkdir()
    again = figures()
    assert again.exit_code == 0 and "made a" not in again.stderr
    assert len(asked(tmp_path)) == 1


def test_an_incomplete_result_is_kept_and_published_nowhere(
    figures: Figures, hub: LoopbackHub, tmp_path: Path
) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "failing").write_text("b")
    failed = figures()
    assert failed.exit_code == 5 and "Nothing is published" in failed.stderr
    assert not hub.repo(REPO, "dataset").exists() and asked(tmp_path) == []
    assert {path.name for path in (tmp_path / "out").iterdir()} > {"a.json", "b.json", "README.md"}
    (tmp_path / "failing").write_text("")
    mended = figures()
    assert mended.exit_code == 0 and "made a" not in mended.stderr
    assert json.loads(hub.repo(REPO, "dataset").read("b.json")) == "b"
    assert not list((tmp_path / "out").glob("*.kept"))


def test_an_incomplete_result_is_published_when_asked_and_is_still_a_failure(
    figures: Figures, hub: LoopbackHub, tmp_path: Path
) -> None:
    (tmp_path / "failing").write_text("b")
    failed = figures(partial=True)
    assert failed.exit_code == 5 and [item["exit_code"] for item in failed.json["error"]["problems"]] == [
        5,
        6,
    ]
    assert "b failed" in hub.repo(REPO, "dataset").read("b.json").decode()
    (tmp_path / "service").mkdir()
    assert figures(partial=True).exit_code == 5
    assert [told["pieces"] for told in asked(tmp_path)] == [["a"]]


def test_no_push_publishes_nothing_at_all(figures: Figures, hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    said = figures(no_push=True)
    assert said.exit_code == 0 and "published" not in said.json
    assert not hub.repo(REPO, "dataset").exists() and asked(tmp_path) == []


def test_what_others_go_on_with_is_no_failure_and_is_collected_later(
    figures: Figures, hub: LoopbackHub, tmp_path: Path
) -> None:
    (tmp_path / "service").mkdir()
    said = figures(waits=False)
    assert said.exit_code == 0, said.stderr
    assert said.json["handed_over"]["where"] == "pod-1"
    assert not (tmp_path / "out").exists() and asked(tmp_path) == []
    later = figures()
    assert later.exit_code == 0 and "made a" not in later.stderr and "made b" in later.stderr
    assert asked(tmp_path)[0]["pieces"] == ["a", "b"]
