"""`status`, `logs` and `stop` of a pod that works and of one that is gone."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmcourse.autoeval.runpod.client import RunpodClient
from llmcourse.core.errors import PlanError
from tests.autoeval.runpod_rig import Rig

pytestmark = pytest.mark.skipif(find_spec("runpod") is None, reason="the extra runpod is not installed")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig.of(tmp_path) as rig:
        yield rig


def ask(rig: Rig, code: str) -> list[str]:
    """In a process of its own: huggingface_hub reads its endpoint when it is imported."""
    import subprocess
    import sys

    script = f"from llmcourse.autoeval.runpod.commands import *\n{code}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], env=rig.env(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_status_logs_and_stop_do_what_they_say(rig: Rig) -> None:
    wish = {"wait": False, "max_hours": 60 / 3600}
    rig.start({"One": ["a", "b_slow"]}, wish=wish, pace={"report_s": 0.5}).ended()
    (pod,) = rig.runpod.pods
    branch = f"{pod.name}-job-0"
    repo = rig.hub.repo("alice/llmcourse-results", "dataset")
    rig.wait_for(lambda: branch in repo.branches() and any("tasks" in path for path in repo.files(branch)))
    rig.wait_for(lambda: "log.txt" in repo.files(pod.name))
    lines = ask(
        rig,
        f"s = status({pod.id!r}); print(s.state, s.tasks, s.usd_per_hour > 0.3)\n"
        f"print('token ***' in logs({pod.id!r}))\nprint(stop({pod.id!r}))",
    )
    assert lines == ["RUNNING ('me__model/a',) True", "True", f"['{pod.id}']"]
    assert rig.runpod.pods == []
    assert rig.runpod.secrets == []
    # Its own last word, where it had the time for one.
    assert ask(rig, f"print(status({pod.name!r}).state)") in (["gone"], ["failed"])


def test_a_pod_that_ended_by_itself_is_known_by_its_last_word(rig: Rig) -> None:
    rig.start({"One": ["a", "b_full"]}, wish={"wait": False}).ended()
    rig.wait_for(lambda: rig.runpod.ended)
    (pod,) = rig.runpod.ended
    (line,) = ask(rig, f"print(status({pod.id!r}).sentence())")
    assert line.startswith(f"{pod.id} ({pod.name}) failed: exit code 4: Error: /root: the disk is full,")


def test_what_is_no_pod_of_ours_is_not_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmcourse.autoeval.runpod.commands import stop

    mine = rig.runpod.account.deploy(
        {
            "name": "mine",
            "imageName": "i",
            "cloudType": "SECURE",
            "gpuTypeId": "NVIDIA L40S",
            "dockerArgs": "sleep 60",
        }
    )
    for name, value in rig.runpod.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PlanError):
        stop(mine.id)
    assert RunpodClient(rig.runpod.key).pods()[0].id == mine.id


def test_the_secret_of_a_pod_that_ended_by_itself_goes_with_a_look_at_it(rig: Rig) -> None:
    rig.start({"One": ["a"]}, wish={"wait": False}).ended()
    rig.wait_for(lambda: rig.runpod.ended)
    (pod,) = rig.runpod.ended
    assert len(rig.runpod.secrets) == 1  # a pod's own key opens that pod only
    assert ask(rig, f"print(status({pod.id!r}).state)") == ["done"]
    assert rig.runpod.secrets == []


def test_the_secret_of_a_run_that_a_client_waits_for_stays(rig: Rig) -> None:
    client = rig.start({"One": ["a_slow"]}, wish={"max_hours": 60 / 3600})
    rig.wait_for(lambda: rig.runpod.pods)
    (pod,) = rig.runpod.pods
    rig.runpod.account.end(pod.id, "fault")  # another one is going to be rented
    ask(rig, f"print(status({pod.name!r}).state)")
    assert len(rig.runpod.secrets) == 1
    client.process.kill()
    client.ended()


def test_stop_removes_the_secret_of_a_run_whose_pods_have_ended(rig: Rig) -> None:
    rig.start({"One": ["a"]}, wish={"wait": False}).ended()
    rig.wait_for(lambda: rig.runpod.ended)
    (pod,) = rig.runpod.ended
    (line,) = ask(rig, f"try: stop({pod.name!r})\nexcept PlanError as error: print(error.fix)")
    assert line == "It has ended by itself; the secret of its run was still there and is removed now."
    assert rig.runpod.secrets == []


def test_before_any_run_there_is_no_such_pod(rig: Rig) -> None:
    for name in ("status", "logs"):
        (line,) = ask(rig, f"try: {name}('nopod')\nexcept PlanError as error: print(error.what)")
        assert line.startswith("There is no pod nopod at RunPod, and none has left a word")
