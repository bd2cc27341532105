"""Whatever goes wrong: no pod stays, nothing is green that has no result, the cap holds."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.autoeval.runpod_rig import Outcome, Rig
from tests.autoeval.runpod_scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.skipif(find_spec("runpod") is None, reason="the extra runpod is not installed")

# One of each kind; all of them are in the slow test.
USUAL = (
    "no card is free", "create is cut off after", "a task fails", "the pod's disk is full",
    "the client is killed after a result", "a wrong key",
)  # fmt: skip


def problems(scenario: Scenario, folder: Path) -> tuple[list[str], str]:
    """What is not as it must be, and a row of the table."""
    with Rig.of(folder) as rig:
        rig.runpod.faults.extend(scenario.faults)
        rig.hub.faults.extend(scenario.hub_faults)
        scenario.before(rig)
        cap = float(scenario.wish.get("max_cost_usd", 5))
        client = rig.start({"One": list(scenario.tasks)}, wish=scenario.wish, env=scenario.env)
        try:
            scenario.act(rig, client)
        finally:
            outcome = client.ended(200)
        until = time.monotonic() + scenario.gone_s
        while (rig.runpod.pods or rig.runpod.secrets) and time.monotonic() < until:
            time.sleep(0.05)
        pods, spent = len(rig.runpod.pods), rig.runpod.usd
        found = [f"{pods} pods are left"] if pods else []
        found += [f"{spent:.6f} $ were spent, {cap} are the cap"] if spent > cap else []
        found += _wrong_end(scenario, outcome)
        found += [f"a token stands in {where}" for where in rig.tokens_in_the_open(outcome)]
        ended_by = {pod.ended_by for pod in rig.runpod.ended}
        if scenario.ended_by and ended_by - {scenario.ended_by}:
            found.append(f"pods were ended by {sorted(ended_by)}")
        rented = len(rig.runpod.ended) + pods
        row = f"{scenario.name:58}{outcome.exit_code:5}{rented:6}{pods:6}{spent:12.6f}{outcome.seconds:8.1f}"
    return found, row


def _wrong_end(scenario: Scenario, outcome: Outcome) -> list[str]:
    good = {task for (_, task), result in outcome.results.items() if not result["error"]}
    found = []
    if outcome.exit_code not in scenario.exits:
        found.append(f"it ended with {outcome.exit_code}: {outcome.error} {outcome.stderr[-1500:]}")
    if outcome.exit_code == 0 and good != set(scenario.tasks):
        found.append(f"it is green and has only {sorted(good)}")
    if scenario.says and scenario.says not in str(outcome.error):
        found.append(f"it says {outcome.error}")
    return found


@pytest.mark.parametrize("name", USUAL)
def test_a_failure_leaves_no_pod_and_is_loud(name: str, tmp_path: Path) -> None:
    (scenario,) = [scenario for scenario in SCENARIOS if scenario.name == name]
    found, _ = problems(scenario, tmp_path)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_failures_leave_no_pod_and_none_is_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(SCENARIOS) >= 50
    wrong = {}
    with capsys.disabled():
        sys.stdout.write(f"\n{'':58}{'exit':>5}{'pods':>6}{'left':>6}{'dollars':>12}{'s':>8}\n")
        for number, scenario in enumerate(SCENARIOS):
            found, row = problems(scenario, tmp_path / str(number))
            sys.stdout.write(f"{row}  {'; '.join(found)}\n")
            sys.stdout.flush()
            if found:
                wrong[scenario.name] = found
    assert wrong == {}
