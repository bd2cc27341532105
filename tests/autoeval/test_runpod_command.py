"""The whole way, nothing stood in for: the command here, the same command on the pod, lm-eval, the Hub."""

import json
import os
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID
from llmcourse.testing.plugin import Cli, as_user
from llmcourse.testing.runpod import LoopbackRunpod, PodFault
from tests.autoeval.runpod_rig import SOURCES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("runpod") and find_spec("lm_eval")), reason="the extras are not installed"
    ),
]


@pytest.fixture
def cli(llmcourse: Cli, demo_hub: LoopbackHub, runpod: LoopbackRunpod) -> Cli:
    cli = as_user(llmcourse, demo_hub)
    paths = os.pathsep.join([SOURCES, os.environ.get("PYTHONPATH", "")])
    env = cli.env | runpod.env | {"LLMCOURSE_PACKAGE": SOURCES, "PYTHONPATH": paths}
    return Cli(cli.folder, env, cli.python)


def config(cli: Cli, **changes: object) -> str:
    path = cli.folder / "eval.yaml"
    wish = {"model": BASE_ID, "suite": "tiny", "engine": "runpod", "runpod": {"max_hours": 0.1, **changes}}
    path.write_text(json.dumps(wish))
    return str(path)


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until, "it has not become so"
        time.sleep(0.05)


def test_a_pods_figures_are_those_of_this_machine(cli: Cli, runpod: LoopbackRunpod) -> None:
    there = cli("autoeval", config(cli), "-o", "there", "--json")
    assert there.exit_code == 0, there.stderr
    here = cli("autoeval", config(cli), "engine=local", "-o", "here", "--json")
    assert here.exit_code == 0, here.stderr
    assert (runpod.pods, runpod.secrets) == ([], [])
    files = sorted(
        path.relative_to(cli.folder / "here") for path in (cli.folder / "here").glob("tasks/*/*.json")
    )
    assert files
    for path in files:
        own, other = (json.loads((cli.folder / place / path).read_text()) for place in ("here", "there"))
        own.pop("seconds"), other.pop("seconds")
        assert own == other


def test_without_waiting_the_pod_is_named_and_its_results_are_collected(
    cli: Cli, runpod: LoopbackRunpod
) -> None:
    first = cli("autoeval", config(cli, wait=False), "-o", "out", "-q")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.strip() in [pod.id for pod in [*runpod.pods, *runpod.ended]]
    until = time.monotonic() + 120
    while runpod.pods and time.monotonic() < until:
        time.sleep(0.1)
    second = cli("autoeval", config(cli, wait=False), "-o", "out", "-q")
    assert second.exit_code == 0, second.stderr
    assert (cli.folder / "out" / "summary.md").is_file()
    assert len(runpod.ended) == 1
    assert runpod.secrets == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_ended_leaves_no_pod(
    cli: Cli, runpod: LoopbackRunpod, number: signal.Signals
) -> None:
    process = cli.start("autoeval", config(cli), "-o", "out")
    wait_for(lambda: bool(runpod.pods))
    time.sleep(2)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:  # it has looked that they are gone
        assert (runpod.pods, runpod.secrets) == ([], [])
        (pod,) = runpod.ended
        assert f"0 pods left of those that this run has rented ({pod.id} ended)." in stderr
    wait_for(lambda: (runpod.pods, runpod.secrets) == ([], []))
    assert [pod.ended_by for pod in runpod.ended] == ["account"]


def test_ctrl_c_of_a_terminal_reaches_the_child_too_and_is_told_alike(
    cli: Cli, runpod: LoopbackRunpod
) -> None:
    process = cli.start("autoeval", config(cli), "-o", "out")
    wait_for(lambda: bool(runpod.pods))
    time.sleep(2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for number in [*map(int, children), process.pid]:
        os.kill(number, signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert (runpod.pods, runpod.secrets) == ([], [])
    assert "0 pods left of those that this run has rented" in stderr


def test_another_interrupt_ends_the_client_at_once_and_pods_are_ended_after_it(
    cli: Cli, runpod: LoopbackRunpod
) -> None:
    process = cli.start("autoeval", config(cli), "-o", "out")
    wait_for(lambda: bool(runpod.pods))
    time.sleep(2)
    runpod.faults.append(PodFault("podTerminate", "status", times=3))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    process.communicate()
    assert process.returncode == 130 and time.monotonic() - begin < 3
    wait_for(lambda: (runpod.pods, runpod.secrets) == ([], []))


def test_what_a_pod_would_fail_at_is_refused_before_one_is_paid_for(
    cli: Cli, runpod: LoopbackRunpod, demo_hub: LoopbackHub
) -> None:
    reading = demo_hub.tokens["reader"]
    refused = cli("autoeval", config(cli), "-n", env={"HF_TOKEN": reading})
    assert refused.exit_code == 4
    assert (
        "Results cannot come back through llmcourse-results: Your Hub token may only read." in refused.stdout
    )
    unknown = cli("autoeval", config(cli), "suite=null", "tasks=[arc_eazy]", "-n")
    assert unknown.exit_code == 4
    assert "lm-eval has no task 'arc_eazy'." in unknown.stdout
    assert not [call for call in runpod.calls if call.field == "podFindAndDeployOnDemand"]
