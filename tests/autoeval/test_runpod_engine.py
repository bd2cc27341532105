"""What the engine does when all is well: results home, pods gone, nothing in the open."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmcourse.autoeval.runpod.dealing import read_task_variable
from llmcourse.testing.runpod import PodFault
from tests.autoeval.runpod_rig import REPOSITORY, Rig
from tests.autoeval.runpod_scenarios import CREATE

pytestmark = pytest.mark.skipif(find_spec("runpod") is None, reason="the extra runpod is not installed")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig.of(tmp_path) as rig:
        yield rig


def test_results_come_home_and_the_pod_is_gone(rig: Rig) -> None:
    outcome = rig.start({"One": ["a", "b"], "Two": ["c"]}).ended()
    assert outcome.exit_code == 0, outcome.stderr
    assert sorted(outcome.results) == [("me/model", "a"), ("me/model", "b"), ("me/model", "c")]
    assert rig.runpod.pods == []
    assert rig.runpod.secrets == []
    assert 0 < rig.runpod.usd < 0.01
    assert rig.tokens_in_the_open(outcome) == []
    assert list(rig.hub.repo(REPOSITORY, "dataset").branches()) == ["main"]


def test_the_token_reaches_the_pod_as_a_secret_and_is_masked_in_its_log(rig: Rig) -> None:
    outcome = rig.start({"One": ["a_fails"]}).ended()
    (pod,) = rig.runpod.ended
    assert pod.env["HF_TOKEN"].startswith("{{ RUNPOD_SECRET_llmcourse_")
    repo = rig.hub.repo(REPOSITORY, "dataset")
    assert "token ***" in repo.read("log.txt", pod.name).decode()
    assert rig.tokens_in_the_open(outcome) == []


@pytest.mark.slow
def test_models_and_groups_are_spread_over_pods_and_joined(rig: Rig) -> None:
    groups = {"One": ["a", "b", "c"], "Two": ["d"], "Three": ["e"]}
    outcome = rig.start(groups, wish={"pods": 3}, models=("me/x", "me/y")).ended()
    assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.results) == 10
    assert rig.runpod.account.most_at_once == 3
    assert rig.runpod.pods == []


@pytest.mark.slow
def test_the_cheapest_card_that_is_free_is_taken(rig: Rig) -> None:
    cards = ["NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", "NVIDIA L40S"]
    rig.runpod.cards["NVIDIA GeForce RTX 4090"].free = 0
    outcome = rig.start({"One": ["a"]}, wish={"gpu": cards}).ended()
    assert outcome.exit_code == 0, outcome.stderr
    assert [pod.card.id for pod in rig.runpod.ended] == ["NVIDIA L40S"]


@pytest.mark.slow
def test_the_hours_of_pods_are_cut_so_that_all_together_stay_under_the_cap(rig: Rig) -> None:
    rig.runpod.cards["NVIDIA GeForce RTX 4090"].community_usd = 3600
    wish = {"pods": 2, "max_cost_usd": 30, "max_hours": 1}
    outcome = rig.start({"One": ["a", "b_slow"], "Two": ["c", "d_slow"]}, wish=wish).ended()
    assert outcome.exit_code == 5
    assert outcome.results["me/model", "a"]["error"] == ""
    # The pod says it itself, or, where its last word did not come through, the client.
    assert re.search("its time (is|was) over", outcome.results["me/model", "b_slow"]["error"])
    assert rig.runpod.usd <= 30
    told = [read_task_variable(pod.env["LLMCOURSE_POD"]) for pod in rig.runpod.ended]
    assert sum(item["seconds"] for item in told) <= 30


def test_without_waiting_the_same_command_collects_later(rig: Rig) -> None:
    first = rig.start({"One": ["a", "b"]}, wish={"wait": False}).ended()
    assert (first.exit_code, first.error["type"]) == (0, "HandedOver")
    (pod,) = rig.runpod.pods or rig.runpod.ended
    assert pod.id in first.error["what"]
    rig.wait_for(lambda: not rig.runpod.pods)
    assert pod.ended_by == "itself"
    second = rig.start({"One": ["a", "b"]}, wish={"wait": False}).ended()
    assert second.exit_code == 0, second.stderr
    assert len(second.results) == 2
    assert len(rig.runpod.ended) == 1
    assert rig.runpod.secrets == []


@pytest.mark.slow
def test_pods_that_were_handed_over_outlive_a_client_that_is_killed(rig: Rig) -> None:
    rig.start({"One": ["a_slow"]}, wish={"wait": False}).ended()
    client = rig.start({"One": ["a_slow"]}, wish={"wait": False})
    rig.wait_for(lambda: "evaluate on RunPod" in client.said())
    client.process.kill()
    client.ended()
    time.sleep(3)
    assert len(rig.runpod.pods) == 1


@pytest.mark.slow
def test_pods_of_a_killed_client_are_ended_before_new_ones_are_rented(rig: Rig) -> None:
    # The answer is late, so the client is killed before it knows that it has a pod.
    rig.runpod.faults.append(PodFault(CREATE, "slow", seconds=3))
    client = rig.start({"One": ["a_slow"]})
    rig.wait_for(lambda: rig.runpod.pods)
    watchdogs = client.watchdogs()
    for process in [*watchdogs, client.process.pid]:
        os.kill(process, signal.SIGKILL)
    client.ended()
    (left,) = rig.runpod.pods
    outcome = rig.start({"One": ["a"]}).ended()
    assert outcome.exit_code == 0, outcome.stderr
    assert left.ended_by == "account"  # and not itself, when its client's lease was over
    assert rig.runpod.pods == []


@pytest.mark.slow
def test_a_model_is_read_at_the_commit_that_the_plan_saw(rig: Rig) -> None:
    outcome = rig.start({"One": ["a"]}, models=(f"me/model@{'c' * 40}",)).ended()
    assert outcome.exit_code == 0, outcome.stderr
    (pod,) = rig.runpod.ended
    (job,) = read_task_variable(pod.env["LLMCOURSE_POD"])["jobs"]
    assert json.loads(job["config"])["model"] == [f"me/model@{'c' * 40}"]


@pytest.mark.slow
def test_a_pod_that_is_there_is_used_set_back_and_not_ended(rig: Rig) -> None:
    request = {
        "name": "mine", "imageName": "image", "cloudType": "COMMUNITY", "gpuTypeId": "NVIDIA L40S",
        "dockerArgs": "sleep 600", "env": [{"key": "MINE", "value": "1"}],
    }  # fmt: skip
    mine = rig.runpod.account.deploy(request)
    outcome = rig.start({"One": ["a", "b"]}, wish={"pod": mine.id}).ended()
    assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.results) == 2
    assert [pod.id for pod in rig.runpod.pods] == [mine.id]
    assert (mine.request["dockerArgs"], dict(mine.env)) == ("sleep 600", {"MINE": "1"})
    assert rig.runpod.secrets == []
