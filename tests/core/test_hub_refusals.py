"""What the Hub answers when it will not take a result: waits are kept, reasons reach the user."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.hub.client import run_client
from llmcourse.testing.models import BASE_ID
from llmcourse.testing.plugin import Cli, as_user

REPO = "alice/new"
FULL = "Private repository storage limit reached, please upgrade your plan to increase your limit."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A result with a large file."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 50_000)
    (made / "config.json").write_text("{}")
    return made


def publish(folder: str, still_s: float = 60) -> "list[object]":
    """Push in a process of its own: what was said, the exit code, seconds taken."""
    import time

    from llmcourse.core import hub
    from llmcourse.core.artifact import Artifact, OutputFile
    from llmcourse.core.config import HubTarget
    from llmcourse.core.errors import LlmcourseError
    from llmcourse.core.hub import standstill
    from llmcourse.core.progress import Note, Progress

    standstill._STILL_S = still_s
    said: list[str] = []
    hub.use_quietly(False, said.append)
    files = tuple(OutputFile.of(Path(folder), path.name) for path in sorted(Path(folder).iterdir()))
    artifact = Artifact("merge", folder, "f", files, {}, {}, {}, {})
    progress = Progress(lambda event: said.append(event.text) if isinstance(event, Note) else None)
    begin = time.monotonic()
    try:
        hub.push(Path(folder), artifact, hub.read_target(HubTarget(repo="alice/new")), progress)
    except LlmcourseError as error:
        return [[*said, error.what, error.fix], error.exit_code, time.monotonic() - begin]
    return [said, 0, time.monotonic() - begin]


@pytest.mark.parametrize(
    ("path", "xet", "in_header"),
    [
        ("/objects/batch", False, False),
        ("/xet-write-token", True, False),
        ("/xet-write-token", True, True),
        ("/preupload/", True, False),
        ("/commit/", True, False),
        ("/commit/", False, True),
    ],
)
def test_storage_that_is_used_up_is_no_question_of_rights_and_goes_on_when_there_is_room(
    hub: LoopbackHub, folder: Path, path: str, xet: bool, in_header: bool
) -> None:
    headers = {"X-Error-Message": FULL} if in_header else {"Content-Type": "application/json"}
    body = "" if in_header else json.dumps({"error": FULL})
    hub.faults.append(Fault(path=path, status=403, times=None, body=body, headers=headers))
    (what, fix), code, _ = run_client(hub, publish, folder, xet=xet)
    assert code == 6 and what.startswith(f"The Hub has no room for {REPO}") and FULL in what
    assert "write access" not in fix and "settings/billing" in fix and "goes on from here" in fix
    hub.faults.clear()
    assert run_client(hub, publish, folder, xet=xet)[1] == 0


@pytest.mark.parametrize("xet", [True, False])
def test_a_missing_right_is_still_one(hub: LoopbackHub, folder: Path, xet: bool) -> None:
    path = "/xet-write-token" if xet else "/objects/batch"
    hub.faults.append(Fault(path=path, status=403, times=None, body='{"error": "Forbidden"}'))
    (what, fix), code, _ = run_client(hub, publish, folder, xet=xet)
    assert code == 6 and "Your token may not do this" in what and "write access" in fix


@pytest.mark.parametrize("way", ["seconds", "date", "window"])
@pytest.mark.parametrize("path", ["/commit/", "/revision/main$|/api/repos/create"])
def test_a_refusal_is_waited_for_as_long_as_the_hub_asks(
    hub: LoopbackHub, folder: Path, way: str, path: str
) -> None:
    seconds = 6
    headers = {
        "seconds": {"Retry-After": str(seconds)},
        "date": {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=12))},
        "window": {"RateLimit": f'"api";r=0;t={seconds}', "Retry-After": "1"},
    }[way]
    hub.faults.append(Fault(method="POST|GET", path=path, status=429, headers=headers))
    said, code, taken = run_client(hub, publish, folder)
    assert code == 0 and taken > 4, (said, taken)
    assert said[0].startswith("waiting ") and said[0].endswith("as the Hub asks")


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_failure_that_may_pass_is_tried_again_when_the_hub_says(
    hub: LoopbackHub, folder: Path, status: int
) -> None:
    hub.faults.append(Fault(path="/commit/", status=status, headers={"Retry-After": "2"}))
    _, code, taken = run_client(hub, publish, folder)
    assert code == 0 and taken > 2


@pytest.mark.parametrize("status", [400, 404, 410, 501])
def test_what_will_not_pass_is_not_tried_again(hub: LoopbackHub, folder: Path, status: int) -> None:
    hub.faults.append(Fault(path="/commit/", status=status, times=None))
    (what, fix), code, _ = run_client(hub, publish, folder)
    assert code == 6 and str(status) in what and fix
    assert sum("/commit/" in request.path for request in hub.requests) == 1


def test_a_wait_of_an_hour_is_told_and_not_sat_out(hub: LoopbackHub, folder: Path) -> None:
    hub.faults.append(Fault(path="/commit/", status=429, headers={"Retry-After": "3600"}, times=None))
    (what, fix), code, taken = run_client(hub, publish, folder)
    assert code == 6 and "rate limit" in what and fix.startswith("Wait 1 h 00 min") and taken < 30


@pytest.mark.parametrize("xet", [True, False])
def test_an_upload_that_stands_still_says_so(hub: LoopbackHub, folder: Path, xet: bool) -> None:
    hub.faults.append(Fault(method="PUT|POST", path="/xorbs/|/lfs/|/objects/", sleep_s=3))
    said, code, _ = run_client(hub, publish, folder, 0.5, xet=xet)
    assert code == 0 and said, said
    assert said[0].startswith("! The upload of model.safetensors to alice/new stands still")
    assert ("HF_HUB_DISABLE_XET=1" in said[0]) == xet and "run the same command" in said[0]


@pytest.mark.parametrize(
    "env",
    [
        {"HF_TOKEN": "hf_expired0123456789"},
        pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, marks=pytest.mark.slow),
    ],
)
def test_a_good_result_is_not_another_runs_because_the_hub_cannot_be_asked(
    demo_hub: LoopbackHub, llmcourse: Cli, env: dict[str, str]
) -> None:
    cli = as_user(llmcourse, demo_hub)
    (cli.folder / "m.yaml").write_text(
        f"merge_method: linear\ndtype: float32\nmodels: [{{model: {BASE_ID}, parameters: {{weight: 1}}}}]\n"
        "output: out\nhub: {repo: alice/merged}\n"
    )
    assert cli("merge", "m.yaml").exit_code == 0
    plan = cli("merge", "m.yaml", "-n", env=env)
    assert plan.exit_code == 4 and "another" not in plan.stdout and "--force" not in plan.stdout
    assert "! output: " in plan.stdout and "whether it is this one cannot be told now" in plan.stdout
    other = cli("merge", "m.yaml", "-n", "dtype=float16")
    assert other.exit_code == 4 and "--force" in other.stdout
