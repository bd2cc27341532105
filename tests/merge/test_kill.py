"""kill -9 and Ctrl-C at many moments: no folder under the final name, and the same command finishes."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from llmcourse.core.workspace import read_artifact
from llmcourse.testing.hub import LoopbackHub
from llmcourse.testing.models import BASE_ID, CODE_ID, PROSE_ID, Family
from llmcourse.testing.plugin import Cli, as_user
from tests.tiny_configs import tiny_configs

DARE = tiny_configs("merge") / "dare_ties.yaml"
LINEAR = tiny_configs("merge") / "linear.yaml"


@pytest.fixture
def local_dare(llmcourse: Cli, family: Family) -> Path:
    """The random method, on local folders: a resumed run must draw the same numbers."""
    text = DARE.read_text()
    for repo, folder in ((CODE_ID, family.code), (PROSE_ID, family.prose), (BASE_ID, family.base)):
        text = text.replace(f"{repo}\n", f"{folder}\n").replace(f"{repo} #", f"{folder} #")
    path = llmcourse.folder / "dare.yaml"
    path.write_text(text)
    return path


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def end(process: "subprocess.Popen[str]", signal_number: int) -> int:
    """Send the signal to the parent only; its child must end by itself."""
    children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    return process.returncode


def finished_files(output: Path) -> int:
    record = output.with_name(f".{output.name}.llmcourse") / "run.json"
    return record.read_text().count('"sha256"') if record.exists() else 0


@pytest.mark.parametrize("moments", [(3,), pytest.param(range(10), marks=pytest.mark.slow)], ids=len)
def test_killed_at_many_moments_of_the_run_then_finished_with_the_same_bits(
    moments: Sequence[int], llmcourse: Cli, local_dare: Path
) -> None:
    arguments = ("merge", local_dare, "options.out_shard_size=500k")
    assert llmcourse(*arguments, "-o", "whole").exit_code == 0
    output = llmcourse.folder / "out"
    for moment in moments:
        process = llmcourse.start(*arguments, "-o", "out")
        if moment == 0:
            time.sleep(0.3)  # while it plans
        wait_for(lambda moment=moment: finished_files(output) >= moment, process)  # type: ignore[misc]
        end(process, signal.SIGKILL)
        assert not output.exists()
    assert llmcourse(*arguments, "-o", "out").exit_code == 0
    for path in (llmcourse.folder / "whole").glob("*.safetensors"):
        ours, whole = load_file(output / path.name), load_file(path)
        assert all(ours[name].equal(whole[name]) for name in whole)
    assert not list(llmcourse.folder.glob(".*.llmcourse"))


@pytest.mark.parametrize("moments", [(2,), pytest.param(range(1, 11), marks=pytest.mark.slow)], ids=len)
def test_killed_at_many_moments_of_the_push_then_one_commit(
    moments: Sequence[int], llmcourse: Cli, demo_hub: LoopbackHub
) -> None:
    alice = as_user(llmcourse, demo_hub, transport="lfs")
    made = ("merge", LINEAR, "options.out_shard_size=500k", "-o", "out")
    assert alice(*made, "--no-push").exit_code == 0
    demo_hub.settings.latency_s = 0.02
    for moment in moments:
        demo_hub.clear_requests()
        process = alice.start(*made, "--push", "alice/merged")
        wait_for(lambda moment=moment: len(demo_hub.requests) >= 5 + 3 * moment, process)  # type: ignore[misc]
        end(process, signal.SIGKILL)
        if process.returncode == 0:
            break
    demo_hub.settings.latency_s = 0
    result = alice(*made, "--push", "alice/merged")
    assert result.exit_code == 0, result.stderr
    titles = [commit.title for commit in demo_hub.repo("alice/merged").commits()]
    assert titles == ["Add merge made by llmcourse", "initial commit"]


@pytest.mark.parametrize(
    "signal_number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_an_interrupted_run_exits_130_and_goes_on(
    signal_number: signal.Signals, llmcourse: Cli, local_dare: Path
) -> None:
    arguments = ("merge", local_dare, "options.out_shard_size=500k", "-o", "out")
    output = llmcourse.folder / "out"
    process = llmcourse.start(*arguments)
    wait_for(lambda: finished_files(output) >= 2, process)
    begin = time.monotonic()
    assert end(process, signal_number) == 130
    assert time.monotonic() - begin < 4
    assert not output.exists()
    assert llmcourse(*arguments).exit_code == 0


@pytest.mark.slow
def test_a_finished_file_that_was_damaged_meanwhile_is_made_again(llmcourse: Cli, local_dare: Path) -> None:
    arguments = ("merge", local_dare, "options.out_shard_size=2M", "-o", "out")
    output = llmcourse.folder / "out"
    process = llmcourse.start(*arguments)
    wait_for(lambda: finished_files(output) >= 2, process)
    end(process, signal.SIGKILL)
    damaged = next((llmcourse.folder / ".out.llmcourse" / "files").glob("model-00001*"))
    with damaged.open("r+b") as file:
        file.seek(5000)
        file.write(b"damage")
    assert llmcourse(*arguments).exit_code == 0
    artifact = read_artifact(output)
    assert artifact is not None
    assert all((output / file.path).stat().st_size == file.size for file in artifact.files)


def test_two_processes_on_one_output_do_not_mix(llmcourse: Cli, local_dare: Path) -> None:
    first = llmcourse.start("merge", local_dare, "-o", "out")
    lock = llmcourse.folder / ".out.llmcourse" / "lock"
    wait_for(lock.exists, first)
    second = llmcourse("merge", local_dare, "-o", "out")
    assert second.exit_code == 4 and "Another llmcourse process" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root")
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_after(llmcourse: Cli, local_dare: Path) -> None:
    small = llmcourse.folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5M", "tmpfs", small], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow mounting")
    try:
        refused = llmcourse("merge", local_dare, "-o", small / "out")
        assert refused.exit_code == 4 and "are free" in refused.stderr
        # Enough by the plan, then somebody else fills the disk.
        subprocess.run(["mount", "-o", "remount,size=12M", small], check=True)
        process = llmcourse.start("merge", local_dare, "options.out_shard_size=500k", "-o", small / "out")
        wait_for(lambda: (small / ".out.llmcourse" / "files").exists(), process)
        (small / "filler").write_bytes(b"x" * 8_000_000)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 4 and "disk is full" in stderr and "Traceback" not in stderr
        (small / "filler").unlink()
        assert (
            llmcourse("merge", local_dare, "options.out_shard_size=500k", "-o", small / "out").exit_code == 0
        )
    finally:
        subprocess.run(["umount", small], check=True)
