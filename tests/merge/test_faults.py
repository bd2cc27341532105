"""The Hub and the network fail in every phase of a push: nothing is lost, nothing is visible half-done."""

from pathlib import Path

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli, Result, as_user

LINEAR = Path("configs/merge/linear.yaml").absolute()
ARGUMENTS = ("merge", LINEAR, "options.out_shard_size=2M", "--push", "alice/merged", "-o", "out")


def commits(hub: LoopbackHub) -> list[str]:
    return [commit.title for commit in hub.repo("alice/merged").commits()]


ONE_VISIBLE_CHANGE = ["Add merge made by llmcourse", "initial commit"]

PASSING = {
    "429 on create": Fault(method="POST", path="repos/create", status=429, headers={"Retry-After": "1"}),
    "503 on create": Fault(method="POST", path="repos/create", status=503),
    "500 on model info": Fault(method="GET", path="/api/models/alice/merged/revision", status=500),
    "500 on whoami": Fault(method="GET", path="whoami", status=500),
    "500 on preupload": Fault(method="POST", path="preupload", status=500),
    "500 on commit": Fault(method="POST", path="/commit/", status=500),
    "lost answer of the commit": Fault(method="POST", path="/commit/", apply_then_drop=True),
    "429 on a download": Fault(method="GET", path="resolve/.*config.json", status=429),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_one_visible_change(
    name: str, llmcourse: Cli, demo_hub: LoopbackHub, transport: str
) -> None:
    demo_hub.faults.append(PASSING[name])
    result = as_user(llmcourse, demo_hub, transport=transport)(*ARGUMENTS)
    assert result.exit_code == 0, result.stderr
    assert PASSING[name].matches >= 1
    assert commits(demo_hub) == ONE_VISIBLE_CHANGE


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_an_upload_cut_in_the_middle_goes_on(
    is_reset: bool, llmcourse: Cli, demo_hub: LoopbackHub, transport: str
) -> None:
    path = "/lfs/" if transport == "lfs" else "/xorbs/"
    fault = Fault(method="PUT|POST", path=path, drop_upload_after_bytes=500_000, reset=is_reset)
    demo_hub.faults.append(fault)
    result = as_user(llmcourse, demo_hub, transport=transport)(*ARGUMENTS)
    assert result.exit_code == 0, result.stderr
    assert fault.matches >= 1
    assert commits(demo_hub) == ONE_VISIBLE_CHANGE


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_a_download_cut_in_the_middle_goes_on(is_reset: bool, llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    fault = Fault(
        method="GET",
        path=r"resolve/.*\.safetensors",
        skip=4,
        drop_download_after_bytes=200_000,
        reset=is_reset,
    )
    demo_hub.faults.append(fault)
    result = as_user(llmcourse, demo_hub, transport="lfs")("merge", LINEAR, "-o", "out")
    assert result.exit_code == 0, result.stderr
    assert fault.matches > 4


def failed_push(result: Result, folder: Path) -> str:
    """Exit 6: the result is there and whole, the sentences say that the same command publishes it."""
    assert result.exit_code == 6, result.stderr
    assert "error: " in result.stderr and "fix: " in result.stderr and "Traceback" not in result.stderr
    assert (folder / "out" / "llmcourse.json").is_file()
    return result.stderr


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(method="POST", path="/commit/", times=None, status=500), "HTTP 500"),
        (Fault(method="POST", path="preupload", times=None, status=403), "may not do this"),
        (Fault(method="POST", path="preupload", times=None, expired_token=True), "refused your token"),
    ],
    ids=["server down", "quota", "token expired meanwhile"],
)
def test_a_push_that_fails_keeps_the_result_and_the_same_command_publishes(
    fault: Fault, sentence: str, llmcourse: Cli, demo_hub: LoopbackHub, transport: str
) -> None:
    alice = as_user(llmcourse, demo_hub, transport=transport)
    demo_hub.faults.append(fault)
    assert sentence in failed_push(alice(*ARGUMENTS), llmcourse.folder)
    assert commits(demo_hub) == ["initial commit"]
    demo_hub.clear_faults()
    made = (llmcourse.folder / "out" / "model.safetensors.index.json").stat().st_mtime_ns
    again = alice(*ARGUMENTS, "--json")
    assert again.exit_code == 0, again.stderr
    assert again.json["cached"] and commits(demo_hub) == ONE_VISIBLE_CHANGE
    assert (llmcourse.folder / "out" / "model.safetensors.index.json").stat().st_mtime_ns == made


def test_a_card_the_hub_refuses_is_refused_before_any_upload(
    llmcourse: Cli, demo_hub: LoopbackHub, family: Family
) -> None:
    result = as_user(llmcourse, demo_hub)(*ARGUMENTS, "card.license=my-own")
    assert result.exit_code == 4 and "no licence the Hub knows" in result.stderr
    assert not demo_hub.repo("alice/merged").exists()


def test_no_token_in_any_output_or_file(llmcourse: Cli, demo_hub: LoopbackHub) -> None:
    demo_hub.faults.append(Fault(method="POST", path="/commit/", times=None, status=403))
    result = as_user(llmcourse, demo_hub)(*ARGUMENTS, "-v")
    assert result.exit_code == 6
    token = demo_hub.tokens["alice"]
    assert token not in result.stdout + result.stderr
    made = [path for path in (llmcourse.folder / "out").rglob("*") if path.is_file()]
    assert made and not [path for path in made if token.encode() in path.read_bytes()]
