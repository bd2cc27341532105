"""A pipeline whose evaluation runs on rented machines: begun early, collected at the end."""

import json
import os
import signal
from importlib.util import find_spec

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import CODE_ID, PROSE_ID
from llmcourse.testing.plugin import Cli, as_user
from llmcourse.testing.runpod import LoopbackRunpod, PodFault
from tests.autoeval.runpod_rig import SOURCES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("runpod") and find_spec("lm_eval")), reason="the extras are not installed"
    ),
]
MERGE = {
    "models": [{"model": name, "parameters": {"weight": 0.5}} for name in (CODE_ID, PROSE_ID)],
    "merge_method": "linear",
    "dtype": "float32",
}
PIPELINE = """\
output: out
steps:
  merge: {config: merge.yaml, push: alice/merged}
  scores:
    command: autoeval
    with:
      model: "${merge}"
      tasks: [tiny_word]
      runtime: {dtype: float32}
      engine: runpod
      runpod: {max_hours: 0.1}
  other: {command: merge, config: merge.yaml, with: {dtype: float16}}
"""


@pytest.fixture
def cli(llmcourse: Cli, demo_hub: LoopbackHub, runpod: LoopbackRunpod) -> Cli:
    cli = as_user(llmcourse, demo_hub)
    (cli.folder / "merge.yaml").write_text(json.dumps(MERGE))
    (cli.folder / "p.yaml").write_text(PIPELINE)
    paths = os.pathsep.join([SOURCES, os.environ.get("PYTHONPATH", "")])
    env = cli.env | runpod.env | {"LLMCOURSE_PACKAGE": SOURCES, "PYTHONPATH": paths}
    return Cli(cli.folder, env, cli.python)


def test_a_pod_evaluates_what_was_published_while_other_steps_run(cli: Cli, runpod: LoopbackRunpod) -> None:
    planned = cli("run", "p.yaml", "-n", "--json")
    assert planned.exit_code == 0, planned.stdout
    assert planned.json["cost_usd"] > 0
    made = cli("run", "p.yaml", "--json")
    assert made.exit_code == 0, made.stderr
    steps = {step["name"]: step for step in made.json["steps"]}
    assert {name: step["state"] for name, step in steps.items()} == {
        "merge": "made", "scores": "made", "other": "made",
    }  # fmt: skip
    said = [made.stderr.index(text) for text in ("Pods work by themselves", "[3/3] other", "collect scores")]
    assert said == sorted(said)
    reference = steps["merge"]["reference"].removeprefix("hf://")
    assert list(steps["scores"]["artifact"]["inputs"]) == [reference.partition("@")[0]]
    assert len(runpod.ended) == 1 and (runpod.pods, runpod.secrets) == ([], [])

    again = cli("run", "p.yaml", "--json")
    assert again.exit_code == 0, again.stderr
    assert {step["state"] for step in again.json["steps"]} == {"unchanged"}
    assert len(runpod.ended) == 1


def test_after_an_interrupt_the_pods_work_on_and_are_collected_by_the_next_run(
    cli: Cli, runpod: LoopbackRunpod
) -> None:
    process = cli.start("run", "p.yaml")
    assert process.stderr is not None
    for line in process.stderr:
        if "[3/3] other" in line:
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "scores goes on elsewhere; the same command collects it." in told
    again = cli("run", "p.yaml", "--json")
    assert again.exit_code == 0, again.stderr
    states = {step["name"]: step["state"] for step in again.json["steps"]}
    assert states == {"merge": "unchanged", "scores": "made", "other": "made"}
    assert again.stderr.index("[3/3] other") < again.stderr.index("collect scores")
    assert len(runpod.ended) == 1 and (runpod.pods, runpod.secrets) == ([], [])


def test_where_none_could_be_rented_it_is_asked_for_once_and_the_rest_is_made(
    cli: Cli, runpod: LoopbackRunpod
) -> None:
    none = "There are no longer any instances available with the requested specifications."
    fault = PodFault("podFindAndDeployOnDemand", "error", times=None, message=none)
    runpod.faults.append(fault)
    made = cli("run", "p.yaml", "--json")
    assert made.exit_code == 5, made.stderr
    states = {step["name"]: step["state"] for step in made.json["steps"]}
    assert states == {"merge": "made", "scores": "failed", "other": "made"}
    assert made.stderr.count("error: ") == 1 and "collect scores" not in made.stderr
    assert (runpod.pods, runpod.secrets) == ([], [])


def test_a_pod_is_not_rented_for_what_stays_on_this_machine(cli: Cli, runpod: LoopbackRunpod) -> None:
    refused = cli("run", "p.yaml", "--no-push")
    assert refused.exit_code == 4
    assert "scores: model: " in refused.stderr and "where a pod cannot read it." in refused.stderr
    assert not (cli.folder / "out").exists() and not runpod.ended
