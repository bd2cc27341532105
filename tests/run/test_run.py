"""Pipelines as users run them: planned as a whole, made, resumed, left alone where nothing changed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import CODE_ID, PROSE_ID
from llmcourse.testing.plugin import Cli, as_user
from tests.tiny_configs import tiny

LINEAR = f"""\
models:
  - {{model: {CODE_ID}, parameters: {{weight: 0.5}}}}
  - {{model: {PROSE_ID}, parameters: {{weight: 0.5}}}}
merge_method: linear
dtype: bfloat16
"""
PIPELINE = """\
output: out
steps:
  merge: {config: linear.yaml, push: alice/merged}
  family-tree: {with: {model: "${merge}", formats: [mermaid, html]}}
  publish: {command: push, with: {artifact: "${merge}", repo: alice/other}}
"""


@pytest.fixture
def hub(demo_hub: LoopbackHub) -> LoopbackHub:
    return demo_hub


@pytest.fixture
def cli(llmcourse: Cli, hub: LoopbackHub) -> Cli:
    (llmcourse.folder / "linear.yaml").write_text(LINEAR)
    (llmcourse.folder / "p.yaml").write_text(PIPELINE)
    return as_user(llmcourse, hub)


def repositories(hub: LoopbackHub) -> set[str]:
    names = ("alice/merged", "alice/other")
    return {
        name for name in names if any(f"/api/models/{name}/commit/" in record.path for record in hub.requests)
    }


def states(document: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["state"] for step in document["steps"]}


def test_a_pipeline_is_made_and_then_left_alone(cli: Cli, hub: LoopbackHub) -> None:
    planned = cli("run", "p.yaml", "-n")
    assert planned.exit_code == 0, planned.stderr
    assert "family-tree  family-tree  waits" in planned.stdout
    assert "✓ merge: push: alice/merged@main (new, public)" in planned.stdout
    assert "✓ publish: push: alice/other@main (new, public)" in planned.stdout
    assert not (cli.folder / "out").exists() and not repositories(hub)

    made = cli("run", "p.yaml", "--json")
    assert made.exit_code == 0, made.stderr
    assert states(made.json) == {"merge": "made", "family-tree": "made", "publish": "published"}
    merged = {path.name for path in (cli.folder / "out" / "merge").iterdir()}
    assert {"model.safetensors", "README.md", "llmcourse.json"} <= merged
    assert {path.name for path in (cli.folder / "out").iterdir()} == {"merge", "family-tree", "report.html"}
    assert repositories(hub) == {"alice/merged", "alice/other"}
    page = (cli.folder / "out" / "report.html").read_text()
    assert "alice/merged" in page and "<script" not in page and str(cli.folder) not in page
    assert re.search(r"Made on \d{4}-\d\d-\d\d \d\d:\d\d UTC, .+ in all", page)
    # The family tree was made of the merge, which others find under its name on the Hub.
    assert "<h2>merge</h2>" in page and "out/merge" not in page

    before = (cli.folder / "out" / "merge" / "model.safetensors").stat().st_mtime_ns
    again = cli("run", "p.yaml")
    assert again.exit_code == 0, again.stderr
    assert again.stdout.count("unchanged") == 2 and "load libraries" not in again.stderr
    weights = cli.folder / "out" / "merge" / "model.safetensors"
    assert weights.stat().st_mtime_ns == before

    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    for arguments in (("run", "p.yaml", "-n"), ("merge", "linear.yaml", "-o", "out/merge", "-n")):
        edited = cli(*arguments)
        assert edited.exit_code == 4 and "was changed since it was made." in edited.stdout


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_made(cli: Cli) -> None:
    (cli.folder / "p.yaml").write_text(
        "steps:\n"
        "  merge: {config: linear.yaml, with: {merge_method: liner}}\n"
        "  gguf: {command: quantize-gguf, with: {model: org/none, types: [Q4_K_M]}}\n"
        "  scores: {command: autoeval, with: {model: '${merge}', siute: tiny}}\n"
    )
    result = cli("run", "p.yaml")
    assert result.exit_code == 2 and result.stdout == ""
    assert "merge: merge_method: 'liner' is no merge method of mergekit." in result.stderr
    assert "There is no org/none on the Hub that you can see." in result.stderr
    assert "'siute' is not a known key." in result.stderr and "p.yaml:4:" in result.stderr
    assert "Did you mean 'suite'?" in result.stderr and "Traceback" not in result.stderr
    assert not (cli.folder / "p").exists()


@pytest.mark.slow
def test_a_changed_step_is_made_anew_and_what_a_person_changed_is_kept(cli: Cli) -> None:
    assert cli("run", "p.yaml", "--no-push").exit_code == 0
    changed = cli("run", "p.yaml", "steps.merge.with.dtype=float16", "--no-push", "--json")
    assert changed.exit_code == 0, changed.stderr
    assert states(changed.json)["merge"] == "made"
    weights = cli.folder / "out" / "merge" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # of the same size
    refused = cli("run", "p.yaml", "--no-push")
    assert refused.exit_code == 4 and "merge: " in refused.stderr and "--force" in refused.stderr
    assert cli("run", "p.yaml", "--no-push", "--force").exit_code == 0


@pytest.mark.slow
def test_what_needs_a_failed_step_is_not_started_and_the_rest_is(cli: Cli, hub: LoopbackHub) -> None:
    (cli.folder / "p.yaml").write_text(PIPELINE + "  b: {command: merge, config: linear.yaml}\n")
    hub.faults.append(Fault("POST", r"/api/models/alice/merged/commit/", status=403, times=99))
    result = cli("run", "p.yaml", "--json")
    assert result.exit_code == 6
    assert states(result.json) == {
        "merge": "failed", "family-tree": "not started", "publish": "not started", "b": "made",
    }  # fmt: skip
    hub.clear_faults()
    again = cli("run", "p.yaml", "--json")
    assert again.exit_code == 0 and states(again.json)["merge"] == "unchanged"


def test_steps_that_would_publish_to_one_place_are_refused_however_they_say_it(cli: Cli) -> None:
    (cli.folder / "hub.yaml").write_text(LINEAR + "hub: {repo: alice/Same}\n")
    (cli.folder / "p.yaml").write_text(
        "steps:\n"
        "  a: {command: merge, config: linear.yaml, push: same}\n"  # the user's own
        "  b: {command: merge, config: hub.yaml, with: {dtype: float16}}\n"
        "  c: {command: merge, config: linear.yaml, push: alice/same, revision: other}\n"
        "  publish: {command: push, with: {artifact: '${c}', repo: alice/SAME}}\n"
    )
    result = cli("run", "p.yaml", "--json")
    assert result.exit_code == 2, result.stderr
    assert "a and b would both publish to alice/same@main." in result.stderr
    assert "a and publish would both publish to alice/same@main." in result.stderr
    assert "c and" not in result.stderr and not (cli.folder / "p").exists()


@pytest.mark.parametrize(
    ("steps", "overrides", "what"),
    [
        ("  merge: {config: linear.yaml, private: true}\n", (), "merge says private: and is not published."),
        (
            "  merge: {config: linear.yaml}\n  family-tree: {with: {model: '${merge}', hub: true}}\n", (),
            "family-tree puts the tree into the card of merge, which is not published.",
        ),
        ("  merge: {config: linear.yaml}\n", ("steps.mrge.config=x",), "There is no step 'mrge'."),
        ("  merge: {config: ref.yaml}\n", (), "${merge} stands in a step's own config"),
        ("  family-tree: {with: {model: org/a, formts: 1}}\n", (), "p.yaml:2:"),
    ],
)  # fmt: skip
def test_what_would_be_passed_over_is_refused(
    cli: Cli, steps: str, overrides: tuple[str, ...], what: str
) -> None:
    (cli.folder / "ref.yaml").write_text(LINEAR.replace(CODE_ID, '"${merge}"'))
    (cli.folder / "p.yaml").write_text(f"steps:\n{steps}")
    refused = cli("run", "p.yaml", *overrides)
    assert refused.exit_code == 2 and what in refused.stderr, refused.stderr
    assert not (cli.folder / "p").exists()


@pytest.mark.parametrize("name", ["demo", "nightly"])
def test_what_init_writes_can_be_planned_where_it_lies(cli: Cli, name: str) -> None:
    assert cli("init", "run", name).exit_code == 0
    for path in cli.folder.glob("*.yaml"):
        path.write_text(tiny(path.read_text()))
    planned = cli("run", f"{name}.yaml", "-n", "--no-push")
    assert planned.exit_code == 0, planned.stdout + planned.stderr


def test_two_on_one_folder_do_not_mix(cli: Cli) -> None:
    from llmcourse.core.workspace import Workspace

    with Workspace(cli.folder / "out", "").alone():
        refused = cli("run", "p.yaml", "--no-push")
    assert refused.exit_code == 4 and "Another llmcourse process is writing out." in refused.stderr
    assert not (cli.folder / "out").exists()


def test_without_publishing_a_push_step_says_that_it_did_nothing(cli: Cli, hub: LoopbackHub) -> None:
    planned = cli("run", "p.yaml", "--no-push", "-n", "--json")
    assert states(planned.json)["publish"] == "not published"
    made = cli("run", "p.yaml", "--no-push", "--json")
    assert made.exit_code == 0, made.stderr
    assert states(made.json) == {"merge": "made", "family-tree": "made", "publish": "not published"}
    assert not repositories(hub)


def test_a_pipeline_that_needs_more_disk_than_there_is_in_all_is_refused(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", place], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (cli.folder / "p.yaml").write_text(
            "steps:\n  a: {command: merge, config: linear.yaml}\n  b: {command: merge, config: linear.yaml}\n"
        )
        result = cli("run", "p.yaml", "-o", place / "out")
        assert result.exit_code == 4 and "All steps together: 13." in result.stderr
        assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("how", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_a_pipeline_that_was_ended_goes_on(cli: Cli, how: signal.Signals) -> None:
    (cli.folder / "p.yaml").write_text(
        "output: out\nsteps:\n  a: {command: merge, config: linear.yaml}\n"
        "  b: {command: merge, config: linear.yaml, with: {dtype: float16}}\n"
    )
    process = cli.start("run", "p.yaml")
    until = time.monotonic() + 60
    while not (cli.folder / "out" / ".b.llmcourse").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(how)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGTERM else -9), told
    again = cli("run", "p.yaml", "--json")
    assert again.exit_code == 0, again.stderr
    assert states(again.json) == {"a": "unchanged", "b": "made"}
    assert {path.name for path in (cli.folder / "out").iterdir()} == {"a", "b", "report.html"}


@pytest.mark.slow
def test_killed_within_any_step_it_ends_as_if_it_had_not_been(cli: Cli, hub: LoopbackHub) -> None:
    (cli.folder / "p.yaml").write_text(
        "steps:\n"
        "  merge: {config: linear.yaml}\n"
        "  gguf: {command: quantize-gguf, with: {model: '${merge}', types: [Q8_0, Q4_K_M]}}\n"
        "  family-tree: {with: {model: '${merge}', formats: [mermaid]}}\n"
        "  publish: {command: push, with: {artifact: '${gguf}', repo: alice/other}}\n"
    )

    out = cli.folder / "p"

    def sums() -> dict[str, str]:
        """Of all that is made, which is then moved away."""
        kept = [path for path in out.rglob("*") if path.suffix in (".gguf", ".safetensors", ".mmd", ".md")]
        found = {
            str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept)
        }
        shutil.rmtree(out)
        return found

    undisturbed = cli("run", "p.yaml", "--force")
    assert undisturbed.exit_code == 0, undisturbed.stderr
    calm = sums()
    assert len(calm) >= 5
    for step in ("[1/4]", "[2/4]", "[3/4]", "[4/4]"):
        process = cli.start("run", "p.yaml", "--force")
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(step):
                break
        time.sleep(0.2)
        process.kill()
        process.communicate(timeout=60)
        again = cli("run", "p.yaml", "--force")
        assert again.exit_code == 0, again.stderr
        assert {path.name for path in out.iterdir()} == {"merge", "gguf", "family-tree", "report.html"}
        assert sums() == calm


@pytest.mark.slow
def test_a_pipeline_makes_what_a_pipe_of_the_commands_makes(cli: Cli) -> None:
    (cli.folder / "g.yaml").write_text("types: [Q4_K_M, Q8_0]\nmodel: '-'\n")
    (cli.folder / "p.yaml").write_text(
        "output: out\n"
        "steps:\n"
        "  merge: {config: linear.yaml}\n"
        "  gguf: {command: quantize-gguf, with: {model: '${merge}', types: [Q4_K_M, Q8_0]}}\n"
        "  family-tree: {with: {model: '${gguf}', formats: [mermaid]}}\n"
    )
    assert cli("run", "p.yaml").exit_code == 0
    ours = f"{sys.executable} -m llmcourse"
    pipe = (
        f"{ours} merge linear.yaml -q -o merge | {ours} quantize-gguf g.yaml -q -o gguf | "
        f"{ours} family-tree - --format mermaid"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", pipe], cwd=cli.folder, env={**os.environ, **cli.env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "flowchart" in done.stdout, done.stderr

    def hashes(name: str) -> Iterator[dict[str, str]]:
        for place in (cli.folder / "out" / name, cli.folder / name):
            files = json.loads((place / "llmcourse.json").read_text())["files"]
            yield {file["path"].partition(".")[2]: file["sha256"] for file in files
                   if file["path"].endswith((".gguf", ".safetensors"))}  # fmt: skip

    first, second = hashes("merge")
    assert first == second
    ours_sums, piped_sums = (sorted(found.values()) for found in hashes("gguf"))
    assert len(ours_sums) == 2 and ours_sums == piped_sums


@pytest.mark.slow
def test_a_matrix_is_compared_in_one_report(cli: Cli) -> None:
    (cli.folder / "p.yaml").write_text(
        "output: out\n"
        "matrix: {dtype: [bfloat16, float16]}\n"
        "steps:\n"
        "  merge: {config: linear.yaml, with: {dtype: '${matrix.dtype}'}}\n"
        "  gguf: {command: quantize-gguf, with: {model: '${merge}', types: [Q8_0, Q4_K_M],\n"
        "         quality: {text: held-out.txt, chunks: 2}}}\n"
        "  scores: {command: autoeval, with: {model: ['${merge.*}'], tasks: [tiny_word]}}\n"
    )
    (cli.folder / "held-out.txt").write_text(" ".join(f"word {number}" for number in range(3000)))
    result = cli("run", "p.yaml", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(states(result.json).values()) == {"made"} and len(result.json["steps"]) == 5
    page = (cli.folder / "out" / "report.html").read_text()
    assert "Size and quality" in page and page.count("data:image/") >= 4 and "Evaluations" in page


LINEAR_OF_A_MODEL_THAT_IS_GONE = (
    "merge_method: linear, models: [{model: alice/gone, parameters: {weight: 1}}, "
    f"{{model: {CODE_ID}, parameters: {{weight: 1}}}}]"
)


def test_what_a_step_takes_is_unknown_where_its_model_cannot_be_read(cli: Cli) -> None:
    (cli.folder / "p.yaml").write_text(f"steps:\n  merge: {{with: {{{LINEAR_OF_A_MODEL_THAT_IS_GONE}}}}}\n")
    planned = cli("run", "p.yaml", "-n", "--no-push")
    assert planned.exit_code == 4, planned.stdout
    (row,) = (line for line in planned.stdout.splitlines() if line.startswith("merge "))
    assert row.split()[4:6] == ["unknown", "unknown"] and " 0 B" not in row
    assert "in all, of what is known: " in planned.stdout
