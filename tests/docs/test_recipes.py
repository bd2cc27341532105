"""The recipes do what they say: their files are ours, their commands are run, here, on a loopback Hub."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import CODE_ID, PROSE_ID, Family
from llmcourse.testing.plugin import Cli, as_user
from llmcourse.testing.runpod import LoopbackRunpod
from tests.autoeval.runpod_rig import SOURCES
from tests.docs.pages import DOCS, blocks

NIGHTLY, MAKEFILE, RUNPOD = (DOCS / "recipes" / f"{name}.md" for name in ("nightly", "makefile", "runpod"))


def nightly() -> tuple[list[dict[str, Any]], str, str]:
    """The steps of the workflow, and the two files of the repository that it works on."""
    workflow, pipeline, recipe = blocks(NIGHTLY, "yaml")
    return yaml.safe_load(workflow)["jobs"]["models"]["steps"], pipeline, recipe


def shell_env(cli: Cli) -> dict[str, str]:
    """The environment of a shell whose PATH has the program `llmcourse`."""
    place = cli.folder / "bin"
    place.mkdir()
    (place / "llmcourse").write_text(f'#!/bin/sh\nexec {sys.executable} -m llmcourse "$@"\n')
    (place / "llmcourse").chmod(0o755)
    kept = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return kept | cli.env | {"PATH": f"{place}:/usr/bin:/bin", "HOME": str(cli.folder)}


def start(command: str, cli: Cli, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """As Actions runs a step: a file for bash, which alone hears that the job is cancelled."""
    (cli.folder / "step.sh").write_text(command)
    return subprocess.Popen(["bash", "-e", "step.sh"], cwd=cli.folder, env=env, start_new_session=True)


def test_the_nightly_job_is_a_workflow_and_its_pipeline_one_of_ours() -> None:
    from llmcourse.core.config import validate
    from llmcourse.core.documents import parse
    from llmcourse.run.config import Config
    from llmcourse.run.steps import works

    steps, pipeline, _ = nightly()
    assert all(("run" in step) != ("uses" in step) for step in steps)
    uses = {step["uses"].partition("@")[0]: step for step in steps if "uses" in step}
    restore, save = uses["actions/cache/restore"], uses["actions/cache/save"]
    assert save["if"] == "always()" and save["with"].items() <= restore["with"].items()
    (document,) = parse(pipeline, "pipeline.yaml")
    found = works(validate(Config, document), Path("/x"), Path("/x/nightly"), document.where)
    assert [work.name for work in found] == ["merge", "gguf"]


@pytest.mark.slow
def test_the_nightly_job_goes_on_after_it_was_cancelled_publishes_at_the_second_try_and_repeats_nothing(
    llmcourse: Cli, demo_hub: LoopbackHub
) -> None:
    steps, pipeline, recipe = nightly()
    cli = as_user(llmcourse, demo_hub)
    (cli.folder / "pipeline.yaml").write_text(pipeline.replace(": me/", ": alice/"))
    (cli.folder / "merge.yaml").write_text(recipe.replace("org/chat", PROSE_ID).replace("org/code", CODE_ID))
    env = shell_env(cli) | {"LLMCOURSE_CACHE": str(cli.folder / ".llmcourse")}
    commands = [step["run"] for step in steps if "run" in step]
    install, doctor, dry_run, run, again = commands
    assert install.startswith("pip install 'llmcourse[") and again.startswith("sleep 300 && ")

    def ends(command: str) -> int:
        return start(command, cli, env).wait(200)

    # The first night is cancelled once the merge is there.
    assert [ends(doctor), ends(dry_run)] == [0, 0]
    assert demo_hub.weight_bytes_served() == 0
    cancelled = start(run, cli, env)
    merged = cli.folder / "nightly" / "merge" / "llmcourse.json"
    while not merged.exists():
        assert cancelled.poll() is None
        time.sleep(0.05)
    cancelled.send_signal(signal.SIGINT)
    assert cancelled.wait(10) == 130
    made = {path: path.stat().st_mtime_ns for path in merged.parent.glob("*.safetensors")}
    assert made

    # In the second the Hub takes no commit of the GGUF files; the next step of the job publishes them.
    demo_hub.faults.append(Fault(path="/api/models/alice/merged-nightly-GGUF/commit/", status=500, times=99))
    assert ends(run) == 6
    demo_hub.clear_faults()
    assert ends(again.removeprefix("sleep 300 && ")) == 0
    repositories = [demo_hub.repo(f"alice/merged-nightly{end}") for end in ("", "-GGUF")]
    commits = [repository.commits() for repository in repositories]

    # In the third nothing has changed.
    assert [ends(doctor), ends(dry_run), ends(run)] == [0, 0, 0]
    assert commits == [repository.commits() for repository in repositories]
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert (cli.folder / "nightly" / "report.html").is_file()


@pytest.mark.slow
def test_the_makefile_makes_its_targets_and_nothing_twice(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    cli = as_user(llmcourse, demo_hub)
    (makefile,) = blocks(MAKEFILE, "make")
    (quantize,) = blocks(MAKEFILE, "yaml")
    (cli.folder / "Makefile").write_text(makefile)
    (cli.folder / "gguf.yaml").write_text(quantize)
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in (CODE_ID, PROSE_ID)]
    (cli.folder / "merge.yaml").write_text(yaml.safe_dump({"models": models, "merge_method": "linear"}))
    env = shell_env(cli)

    def make() -> str:
        done = subprocess.run(["make"], cwd=cli.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    make()
    assert (cli.folder / "family.svg").is_file() and len(list((cli.folder / "gguf").glob("*.gguf"))) == 2
    assert "llmcourse" not in make()


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("runpod") and find_spec("lm_eval")), reason="the extras are not installed")
def test_the_commands_of_the_runpod_page_plan_rent_tell_stop_and_collect(
    llmcourse: Cli, demo_hub: LoopbackHub, runpod: LoopbackRunpod, family: Family
) -> None:
    demo_hub.repo("alice/merged").add_files(
        {path.name: path for path in family.base.iterdir()}, message="Upload"
    )
    cli = as_user(llmcourse, demo_hub)
    (config,) = blocks(RUNPOD, "yaml")
    key, dry_run, run, leave, status, stop = blocks(RUNPOD, "bash")[0].splitlines()
    assert key.startswith("export RUNPOD_API_KEY=")
    env = shell_env(cli) | runpod.env | {"LLMCOURSE_PACKAGE": SOURCES, "PYTHONPATH": SOURCES}

    def says(command: str, suite: str = "tiny", pod: str = "", code: int = 0) -> str:
        (cli.folder / "eval.yaml").write_text(config.replace("me/", "alice/").replace("nous", suite))
        done = subprocess.run(
            ["bash", "-ec", command.replace("NAME", pod)],
            cwd=cli.folder, env=env, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, (command, done.stdout + done.stderr)
        return done.stdout

    assert "RTX 4090" in says(dry_run, suite="nous") and "RTX 4090" in says(dry_run)
    says(leave)
    (pod,) = [*runpod.pods, *runpod.ended]
    assert pod.name in says(status, pod=pod.name)
    says(stop, pod=pod.name)
    assert runpod.pods == []
    says(run, code=5)  # collects, and finds a pod that was stopped
    says(run)
    assert (cli.folder / "results" / "summary.md").is_file()
    assert (runpod.pods, runpod.secrets) == ([], [])
