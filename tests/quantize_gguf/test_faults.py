"""The Hub fails while types are made: the others go on, the end mends it, nothing is lost."""

import shutil
from dataclasses import replace

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import digests, logged_in, program, start_converted, steps, whole

REPO = "alice/tiny-GGUF"
PUSH = ("quantize-gguf", "g.yaml", "-o", "out", "--push", REPO)


@pytest.fixture
def alice(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub, family: Family) -> Cli:
    cli = program(llmcourse, tmp_path_factory)
    start_converted(tmp_path_factory, cli, family)
    return logged_in(cli, hub)


def on_hub(hub: LoopbackHub) -> dict[str, str]:
    if not hub.repo(REPO).exists():
        return {}
    return {name: entry.sha256 for name, entry in hub.repo(REPO).files().items() if name.endswith(".gguf")}


FAULTS = {
    "refused once": Fault(method="POST", path="preupload", times=1, status=403),
    "down for a while": Fault(method="POST", path="/commit/", times=2, status=500),
    "cut in the middle": Fault(method="PUT", path="/lfs/", times=1, drop_upload_after_bytes=300_000),
    "answer lost": Fault(method="POST", path="/commit/", times=1, apply_then_drop=True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_type_that_could_not_be_sent_is_sent_at_the_end(name: str, alice: Cli, hub: LoopbackHub) -> None:
    fault = replace(FAULTS[name])
    hub.faults.append(fault)
    result = alice(*PUSH, "--json")
    assert result.exit_code == 0, result.stderr
    assert fault.matches >= 1
    assert on_hub(hub) == digests(result.json["files"]) and len(on_hub(hub)) == 2
    assert ("is not published yet" in result.stderr) == (name == "refused once")


def test_without_keep_local_what_is_sent_at_the_end_goes_too(alice: Cli, hub: LoopbackHub) -> None:
    hub.faults.append(Fault(method="POST", path="preupload", times=1, status=403))
    result = alice(*PUSH, "keep_local=false", "--json")
    assert result.exit_code == 0, result.stderr
    assert len(on_hub(hub)) == 2
    assert not list(alice.folder.rglob("*.gguf"))


def test_a_hub_that_stays_down_ends_with_6_and_the_same_command_publishes(
    alice: Cli, hub: LoopbackHub
) -> None:
    hub.faults.append(Fault(method="POST", path="preupload", times=None, status=403))
    result = alice(*PUSH)
    assert result.exit_code == 6, result.stderr
    assert "error: " in result.stderr and "fix: " in result.stderr and "Traceback" not in result.stderr
    assert whole(alice.folder / "out") and on_hub(hub) == {}
    hub.clear_faults()
    again = alice(*PUSH, "--json", "--progress", "json")
    assert again.exit_code == 0, again.stderr
    assert again.json["cached"] and not [step for step in steps(again) if "upload" not in step]
    assert on_hub(hub) == digests(again.json["files"]) and len(on_hub(hub)) == 2


def test_without_keep_local_nothing_is_deleted_that_the_hub_does_not_hold(
    alice: Cli, hub: LoopbackHub
) -> None:
    hub.faults.append(Fault(method="POST", path="/commit/", times=None, status=403))
    result = alice(*PUSH, "keep_local=false")
    assert result.exit_code == 6, result.stderr
    assert len(list((alice.folder / "out").glob("*.gguf"))) == 2
    hub.clear_faults()
    again = alice(*PUSH, "keep_local=false", "--json", "--progress", "json")
    assert again.exit_code == 0, again.stderr
    assert len(on_hub(hub)) == 2 and not [step for step in steps(again) if "quantize" in step]
    assert not list((alice.folder / "out").glob("*.gguf"))


@pytest.mark.slow
def test_a_file_that_vanished_from_the_hub_and_from_here_is_made_again(alice: Cli, hub: LoopbackHub) -> None:
    gone = (*PUSH, "keep_local=false", "types=[Q8_0]")
    assert alice(*gone).exit_code == 0
    hub.repo(REPO)._state.repos.delete(hub.repo(REPO)._repo())
    again = alice(*gone, "--json")
    assert "Traceback" not in again.stderr
    assert again.exit_code == 6 and "no longer holds base.Q8_0.gguf" in again.stderr
    shutil.rmtree(alice.folder / "out")  # what the sentence advises
    assert alice(*gone).exit_code == 0 and set(on_hub(hub)) == {"base.Q8_0.gguf"}


def test_an_unfinished_push_says_which_type_is_still_missing_and_keeps_the_others(
    alice: Cli, hub: LoopbackHub
) -> None:
    hub.faults.append(Fault(method="POST", path="/commit/", skip=1, times=None, status=403))
    result = alice(*PUSH)
    assert result.exit_code == 6
    assert len(on_hub(hub)) == 1
    assert result.stderr.count("is not published yet") == 1
    assert len(list((alice.folder / "out").glob("*.gguf"))) == 2
