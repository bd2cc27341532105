"""The Hub and the network fail in every phase of a push: nothing is lost, nothing is visible half-done."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import CODE_ID, PROSE_ID, Family
from llmcourse.testing.plugin import Cli, Result, as_user
from tests.tiny_configs import tiny_configs

LINEAR = tiny_configs("merge") / "linear.yaml"
ARGUMENTS = ("merge", "linear.yaml", "options.out_shard_size=2M", "-o", "out")
PUSH = (*ARGUMENTS, "--push", "alice/merged")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, family: Family) -> Path:
    """A finished merge of local folders; a copy of it is as finished, so each test only pushes."""
    shared = tmp_path_factory.getbasetemp().parent / "finished-merge"
    with FileLock(f"{shared}.lock"):
        if not (shared / "out").exists():
            shared.mkdir(exist_ok=True)
            text = LINEAR.read_text().replace(CODE_ID, str(family.code)).replace(PROSE_ID, str(family.prose))
            (shared / "linear.yaml").write_text(text)
            result = Cli(shared)(*ARGUMENTS)
            assert result.exit_code == 0, result.stderr
    return shared


@pytest.fixture
def finished(made_once: Path, llmcourse: Cli) -> Cli:
    shutil.copytree(made_once / "out", llmcourse.folder / "out")
    shutil.copyfile(made_once / "linear.yaml", llmcourse.folder / "linear.yaml")
    return llmcourse


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
}


@pytest.mark.parametrize("transport", ["xet", pytest.param("lfs", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_one_visible_change(
    name: str, finished: Cli, hub: LoopbackHub, transport: str
) -> None:
    fault = replace(PASSING[name])
    hub.faults.append(fault)
    result = as_user(finished, hub, transport=transport)(*PUSH)
    assert result.exit_code == 0, result.stderr
    assert fault.matches >= 1
    assert commits(hub) == ONE_VISIBLE_CHANGE


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_an_upload_cut_in_the_middle_goes_on(
    is_reset: bool, finished: Cli, hub: LoopbackHub, transport: str
) -> None:
    path = "/lfs/" if transport == "lfs" else "/xorbs/"
    fault = Fault(method="PUT|POST", path=path, drop_upload_after_bytes=500_000, reset=is_reset)
    hub.faults.append(fault)
    result = as_user(finished, hub, transport=transport)(*PUSH)
    assert result.exit_code == 0, result.stderr
    assert fault.matches >= 1
    assert commits(hub) == ONE_VISIBLE_CHANGE


@pytest.mark.parametrize(
    "is_reset", [pytest.param(False, marks=pytest.mark.slow), True], ids=["closed", "reset"]
)
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
        pytest.param(
            Fault(method="POST", path="preupload", times=None, status=403),
            "may not do this",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Fault(method="POST", path="preupload", times=None, expired_token=True),
            "refused your token",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["server down", "quota", "token expired meanwhile"],
)
@pytest.mark.parametrize("transport", ["xet", pytest.param("lfs", marks=pytest.mark.slow)])
def test_a_push_that_fails_keeps_the_result_and_the_same_command_publishes(
    fault: Fault, sentence: str, finished: Cli, hub: LoopbackHub, transport: str
) -> None:
    alice = as_user(finished, hub, transport=transport)
    hub.faults.append(replace(fault))
    assert sentence in failed_push(alice(*PUSH), finished.folder)
    assert commits(hub) == ["initial commit"]
    hub.clear_faults()
    again = alice(*PUSH, "--json")
    assert again.exit_code == 0, again.stderr
    assert again.json["cached"] and commits(hub) == ONE_VISIBLE_CHANGE


def test_a_card_the_hub_refuses_is_refused_before_any_upload(finished: Cli, hub: LoopbackHub) -> None:
    result = as_user(finished, hub)(*PUSH, "card.license=my-own")
    assert result.exit_code == 2 and "no licence the Hub knows" in result.stderr
    assert not hub.repo("alice/merged").exists()


def test_what_others_keep_beside_the_model_stays(finished: Cli, hub: LoopbackHub) -> None:
    alice = as_user(finished, hub)
    assert alice(*PUSH).exit_code == 0
    hub.repo("alice/merged").add_files({"merged-Q4_K_M.gguf": b"a quantization", "notes.txt": b"mine"})
    again = alice(*PUSH)
    assert again.exit_code == 0, again.stderr
    assert {"merged-Q4_K_M.gguf", "notes.txt"} <= set(hub.repo("alice/merged").files())
    assert len(hub.repo("alice/merged").commits()) == 3


def test_private_is_never_published_to_a_public_repository(finished: Cli, hub: LoopbackHub) -> None:
    alice = as_user(finished, hub)
    assert alice(*PUSH).exit_code == 0
    refused = alice(*PUSH, "--private")
    assert refused.exit_code == 4 and "is public, but private was asked for" in refused.stderr


@pytest.mark.parametrize("path", ["whoami", "/tree/"])
def test_an_answer_that_is_not_the_hubs_is_one_sentence(path: str, finished: Cli, hub: LoopbackHub) -> None:
    hub.faults.append(Fault(path=path, times=None, status=200, body="<html>Log in to the Wi-Fi</html>"))
    result = as_user(finished, hub)(*PUSH)
    assert result.exit_code in (4, 6) and "could not be understood" in result.stderr


def test_a_commit_of_somebody_else_meanwhile_is_no_obstacle_next_time(
    finished: Cli, hub: LoopbackHub
) -> None:
    hub.repo("alice/merged").add_files({"notes.txt": b"mine"})
    result = as_user(finished, hub)(*PUSH)
    assert result.exit_code == 0, result.stderr
    assert "notes.txt" in hub.repo("alice/merged").files()


def test_no_token_in_any_output_or_file(finished: Cli, hub: LoopbackHub) -> None:
    hub.faults.append(Fault(method="POST", path="/commit/", times=None, status=403))
    result = as_user(finished, hub)(*PUSH, "-v")
    assert result.exit_code == 6
    token = hub.tokens["alice"]
    assert token not in result.stdout + result.stderr
    made = [path for path in (finished.folder / "out").rglob("*") if path.is_file()]
    assert made and not [path for path in made if token.encode() in path.read_bytes()]
