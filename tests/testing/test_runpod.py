"""The loopback RunPod, as its SDK and RunPod's documentation describe the real one."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.runpod.client import (
    NoCapacity,
    PodSpec,
    RunpodClient,
    RunpodError,
    Unreachable,
    WrongKey,
)
from llmcourse.testing.runpod import LoopbackRunpod, PodFault

pytestmark = pytest.mark.skipif(find_spec("runpod") is None, reason="the extra runpod is not installed")


@pytest.fixture
def runpod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackRunpod]:
    with LoopbackRunpod(tmp_path) as runpod:
        monkeypatch.setenv("RUNPOD_API_BASE_URL", runpod.endpoint)
        yield runpod


@pytest.fixture
def client(runpod: LoopbackRunpod) -> RunpodClient:
    return RunpodClient(runpod.key, patience_s=0)


def spec(code: str, **env: str) -> PodSpec:
    return PodSpec("trial", "image:1", "NVIDIA L40S", 1, "community", 20, f'python3 -c "{code}"', env)


def log_of(runpod: LoopbackRunpod, words: str) -> str:
    until = time.monotonic() + 20
    while words not in (text := runpod.pods[0].container.log.read_text()):
        assert time.monotonic() < until, text
        time.sleep(0.02)
    return text


def ask(runpod: LoopbackRunpod, query: str, key: str = "") -> Any:
    headers = {"Authorization": f"Bearer {key or runpod.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"{runpod.endpoint}/graphql", json.dumps({"query": query}).encode(), headers
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def test_the_start_command_runs_with_the_pods_environment(
    runpod: LoopbackRunpod, client: RunpodClient
) -> None:
    client.create_secret("word", 'se"cret')
    code = "import os,time;print(os.environ['A'],os.environ['B'],os.environ['RUNPOD_POD_ID']);time.sleep(9)"
    pod = client.create(spec(f"{code.replace('time.sleep', 'print(end=chr(10),flush=True);time.sleep')}",
                             A="{{ RUNPOD_SECRET_word }}", B='pl"ain'))  # fmt: skip
    assert f'se"cret pl"ain {pod}' in log_of(runpod, pod)
    assert runpod.pods[0].env["A"] == "{{ RUNPOD_SECRET_word }}"


def test_what_exits_is_started_anew_and_costs_until_it_is_terminated(
    runpod: LoopbackRunpod, client: RunpodClient
) -> None:
    pod = client.create(spec("print('begun',flush=True)"))
    until = time.monotonic() + 20
    while runpod.pods[0].container.starts < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert runpod.pods[0].container.starts >= 2
    before = runpod.usd
    time.sleep(0.05)
    assert runpod.usd > before
    client.terminate(pod)
    spent = runpod.usd
    assert client.pods() == []
    time.sleep(0.05)
    assert runpod.usd == spent > 0


def test_a_pods_own_key_ends_that_pod_and_sees_no_other(runpod: LoopbackRunpod, client: RunpodClient) -> None:
    first = client.create(spec("import time;time.sleep(60)"))
    second = client.create(spec("import time;time.sleep(60)"))
    key = runpod.account.pods[first].key
    assert "errors" in ask(runpod, "query { myself { pods { id } } }", key)
    assert "errors" in ask(runpod, f'mutation {{ podTerminate(input: {{podId: "{second}"}}) }}', key)
    ask(runpod, f'mutation {{ podTerminate(input: {{podId: "{first}"}}) }}', key)
    until = time.monotonic() + 10
    while len(runpod.pods) > 1 and time.monotonic() < until:
        time.sleep(0.02)
    assert [pod.id for pod in runpod.pods] == [second]
    assert runpod.ended[0].ended_by == "itself"


def test_fields_that_runpod_does_not_have_are_refused(runpod: LoopbackRunpod) -> None:
    assert "Cannot query field" in str(ask(runpod, "query { myself { wallet } }"))
    assert "is not defined" in str(ask(runpod, 'mutation { podTerminate(input: {id: "x"}) }'))
    assert "selection of subfields" in str(ask(runpod, "query { myself }"))
    assert "Syntax Error" in str(ask(runpod, "query { myself { id "))


def test_prices_and_availability_are_those_of_the_cards(runpod: LoopbackRunpod, client: RunpodClient) -> None:
    runpod.cards["NVIDIA L40S"].free = 1
    one, two = client.offer("NVIDIA L40S", 1), client.offer("NVIDIA L40S", 2)
    assert one and two
    assert (one.is_free, two.is_free) == (True, False)
    assert (one.community_usd, one.secure_usd, one.memory_gb) == (0.79, 0.86, 48)
    assert client.offer("NVIDIA Nothing", 1) is None


def test_failures_are_told_apart(runpod: LoopbackRunpod, client: RunpodClient) -> None:
    runpod.cards["NVIDIA L40S"].free = 0
    with pytest.raises(NoCapacity):
        client.create(spec("pass"))
    for kind in ("status", "drop"):
        runpod.faults.append(PodFault("myself", kind))
        with pytest.raises(Unreachable):
            client.pods()
    with pytest.raises(WrongKey):
        RunpodClient("rpa_wrong", 0).pods()
    with pytest.raises(RunpodError, match="already exists"):
        client.create_secret("word", "1")
        client.create_secret("word", "2")


def test_what_is_sent_is_in_no_error(runpod: LoopbackRunpod, client: RunpodClient) -> None:
    runpod.faults.append(PodFault("secretCreate", "error", message="Not allowed"))
    with pytest.raises(RunpodError) as caught:
        client.create_secret("word", "hf_verysecret")
    assert "hf_verysecret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_only_the_half_of_the_sdk_that_is_used_is_imported(runpod: LoopbackRunpod) -> None:
    code = (
        "import sys; from llmcourse.autoeval.runpod.client import RunpodClient; "
        f"RunpodClient({runpod.key!r}).pods(); "
        "from importlib.util import find_spec; assert find_spec('runpod'); "
        "print(sorted({'fastapi', 'boto3', 'paramiko', 'runpod.serverless'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_serves_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmcourse.testing.runpod", "--root", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.terminate()
    assert process.returncode == 0
    assert told["endpoint"].startswith("http://127.0.0.1:")
