"""kill -9 and Ctrl-C in each phase: nothing half under a final name, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmcourse.core.artifact import sha256_of
from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import (
    digests,
    kill,
    logged_in,
    program,
    staging,
    start_converted,
    steps,
    wait_for,
    whole,
    write_config,
)

RUN = ("quantize-gguf", "g.yaml", "-o", "out", "--json", "--progress", "json")


@pytest.fixture
def quantize(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory, family: Family) -> Cli:
    """The program in a folder where g.yaml has been begun, with two texts."""
    cli = program(llmcourse, tmp_path_factory)
    start_converted(tmp_path_factory, cli, family)
    prose = family.eval_texts["prose"]
    (cli.folder / "calibration.txt").write_text(prose[: len(prose) // 2], encoding="utf-8")
    (cli.folder / "held-out.txt").write_text(prose[len(prose) // 2 :], encoding="utf-8")
    return cli


def killed(cli: Cli, *arguments: str, when: Callable[[], bool], number: int = signal.SIGKILL) -> int:
    """Start the program, send it the signal when it is so, and see all its processes end."""
    process = cli.start(*arguments)
    wait_for(when, process)
    assert process.poll() is None, "it ended before it could be killed"
    return kill(process, number)


def matches(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(folder.glob(pattern))


def record_of(cli: Cli) -> str:
    """What the staging folder says is finished."""
    record = staging(cli.folder) / "run.json"
    return record.read_text() if record.is_file() else ""


def recorded(cli: Cli, count: int) -> Callable[[], bool]:
    return lambda: record_of(cli).count('"sha256"') >= count


@pytest.fixture
def undisturbed(quantize: Cli) -> dict[str, str]:
    """What a run makes that nobody disturbs."""
    shutil.copytree(staging(quantize.folder), staging(quantize.folder, "whole"))
    result = quantize("quantize-gguf", "g.yaml", "-o", "whole", "--json")
    assert result.exit_code == 0, result.stderr
    return digests(result.json["files"])


@pytest.mark.slow
def test_killed_while_it_converts(quantize: Cli, undisturbed: dict[str, str]) -> None:
    shutil.rmtree(staging(quantize.folder))
    scratch = staging(quantize.folder) / "scratch"
    killed(quantize, *RUN, when=matches(scratch, "**/*.gguf*"))
    assert not (quantize.folder / "out").exists()
    result = quantize(*RUN)
    assert result.exit_code == 0, result.stderr
    assert digests(result.json["files"]) == undisturbed and whole(quantize.folder / "out")


@pytest.mark.parametrize("count", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_it_quantizes(count: int, quantize: Cli, undisturbed: dict[str, str]) -> None:
    places = staging(quantize.folder)
    moment = matches(places / "scratch", "Q*/files/*.gguf*") if count == 0 else recorded(quantize, 1)
    converted = (places / "scratch" / "converted.gguf").stat()
    killed(quantize, *RUN, when=moment)
    assert not (quantize.folder / "out").exists()
    finished = {path.name: path.stat().st_ino for path in (places / "files").glob("*.gguf")} if count else {}
    assert (places / "scratch" / "converted.gguf").stat().st_ino == converted.st_ino
    result = quantize(*RUN)
    assert result.exit_code == 0, result.stderr
    assert not [step for step in steps(result) if "convert" in step]
    for name, inode in finished.items():
        assert (quantize.folder / "out" / name).stat().st_ino == inode
        assert f"quantize {name.split('.')[1]}" not in steps(result)
    assert digests(result.json["files"]) == undisturbed and whole(quantize.folder / "out")


MEASURED = (
    *RUN, "types=[Q4_K_M]", "imatrix.text=calibration.txt", "imatrix.chunks=8", "quality.text=held-out.txt",
    "quality.chunks=8",
)  # fmt: skip


@pytest.mark.slow
def test_killed_while_it_measures_then_goes_on_with_what_it_had(quantize: Cli) -> None:
    """Killed in the imatrix, in the measurement of the original, in that of a type: one line of runs."""
    places, out = staging(quantize.folder), quantize.folder / "out"
    killed(quantize, *MEASURED, when=matches(places / "scratch", "imatrix/scratch"))
    assert (places / "scratch" / "converted.gguf").is_file() and not out.exists()
    shutil.copytree(places, staging(quantize.folder, "whole"))
    killed(quantize, *MEASURED, when=matches(places / "scratch", "quality/*/base/scratch"))
    [made] = (places / "files").glob("base.*.gguf")
    inodes = {path: (places / path).stat().st_ino for path in ("files/imatrix.gguf", f"files/{made.name}")}
    assert not out.exists()
    killed(quantize, *MEASURED, when=matches(places / "scratch", "quality/*/Q*/scratch"))
    result = quantize(*MEASURED)
    assert result.exit_code == 0, result.stderr
    again = steps(result)
    assert not [step for step in again if step.startswith(("convert", "quantize", "measure the importance"))]
    assert {path: (out / Path(path).name).stat().st_ino for path in inodes} == inodes and whole(out)
    undisturbed = quantize(*(argument if argument != "out" else "whole" for argument in MEASURED))
    assert undisturbed.exit_code == 0, undisturbed.stderr
    assert digests(result.json["files"]) == digests(undisturbed.json["files"])
    tables = [(quantize.folder / name / "quality.json").read_bytes() for name in ("out", "whole")]
    assert tables[0] == tables[1]


def test_killed_while_it_uploads(quantize: Cli, hub: LoopbackHub, undisturbed: dict[str, str]) -> None:
    alice, push = logged_in(quantize, hub), (*RUN, "--push", "alice/tiny-GGUF")
    hub.faults.append(Fault(method="PUT", path="/lfs/", skip=1, times=1, sleep_s=8))
    repo = hub.repo("alice/tiny-GGUF")
    killed(alice, *push, when=lambda: repo.exists() and len(repo.commits()) > 1)
    first = [name for name in repo.files() if name.endswith(".gguf")]
    assert len(first) == 1
    hub.clear_faults()
    hub.clear_requests()
    result = alice(*push)
    assert result.exit_code == 0, result.stderr
    assert {
        name: entry.sha256 for name, entry in repo.files().items() if name.endswith(".gguf")
    } == undisturbed
    sent = sum(request.request_bytes for request in hub.requests if request.method == "PUT")
    assert sent < sum(entry.size for name, entry in repo.files().items() if name not in first) + 100_000
    titles = [commit.title for commit in repo.commits()]
    assert titles.count(f"Add {first[0].split('.')[1]} made by llmcourse") == 1


def test_killed_after_a_file_was_deleted_that_the_hub_holds(quantize: Cli, hub: LoopbackHub) -> None:
    alice, push = logged_in(quantize, hub), (*RUN, "--push", "alice/tiny-GGUF", "keep_local=false")
    hub.faults.append(Fault(method="PUT", path="/lfs/", skip=1, times=1, sleep_s=8))
    repo = hub.repo("alice/tiny-GGUF")
    killed(alice, *push, when=lambda: '"is_local": false' in record_of(quantize))
    hub.clear_faults()
    result = alice(*push)
    assert result.exit_code == 0, result.stderr
    assert {name for name in repo.files() if name.endswith(".gguf")} == set(digests(result.json["files"]))
    assert len(digests(result.json["files"])) == 2 and not list(quantize.folder.rglob("*.gguf"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_quickly_and_goes_on(number: signal.Signals, quantize: Cli) -> None:
    process = quantize.start(*RUN)
    wait_for(matches(staging(quantize.folder) / "scratch", "Q*/files/*.gguf*"), process)
    begin = time.monotonic()
    assert kill(process, number) == 130
    assert time.monotonic() - begin < 5
    assert not (quantize.folder / "out").exists() and not list((quantize.folder / "tmp").iterdir())
    assert quantize(*RUN).exit_code == 0


def test_ctrl_c_in_a_terminal_reaches_every_process_and_ends_as_quietly(quantize: Cli) -> None:
    """A terminal sends the signal to the program and to all that it started."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "LLMCOURSE_"))}
    process = subprocess.Popen(
        [quantize.python, "-m", "llmcourse", *RUN], cwd=quantize.folder, env=kept | quantize.env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job would ignore it
    )  # fmt: skip
    wait_for(matches(staging(quantize.folder) / "scratch", "Q*/files/*.gguf*"), process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in stderr, stderr
    with pytest.raises(ProcessLookupError):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


@pytest.mark.slow
def test_a_finished_file_that_was_damaged_meanwhile_is_made_again(
    quantize: Cli, undisturbed: dict[str, str]
) -> None:
    killed(quantize, *RUN, when=recorded(quantize, 1))
    damaged = next((staging(quantize.folder) / "files").glob("*.gguf"))
    with damaged.open("r+b") as file:
        file.seek(500_000)
        file.write(b"damage")
    result = quantize(*RUN)
    assert result.exit_code == 0, result.stderr
    assert digests(result.json["files"]) == undisturbed and whole(quantize.folder / "out")


@pytest.mark.slow
def test_a_converted_model_that_was_cut_short_is_not_taken_for_whole(quantize: Cli) -> None:
    source = staging(quantize.folder) / "scratch" / "converted.gguf"
    os.truncate(source, source.stat().st_size // 2)
    result = quantize(*RUN)
    assert "Traceback" not in result.stderr
    assert not list((quantize.folder / "tmp").iterdir())
    assert result.exit_code == 0 or quantize(*RUN).exit_code == 0, result.stderr


def test_two_processes_on_one_output_do_not_mix(quantize: Cli) -> None:
    first = quantize.start(*RUN)
    wait_for((staging(quantize.folder) / "lock").exists, first)
    second = quantize(*RUN)
    assert second.exit_code == 4 and "Another llmcourse process" in second.stderr
    first.communicate(timeout=120)
    assert first.returncode == 0 and whole(quantize.folder / "out")


@pytest.mark.slow
def test_two_processes_that_ask_the_same_question_both_get_the_answer(quantize: Cli, family: Family) -> None:
    own = quantize.folder / "cache"
    own.mkdir()
    shutil.copytree(family.base, quantize.folder / "model")
    (own / "llama.cpp").symlink_to(
        Path(quantize.env["LLMCOURSE_CACHE"]) / "llama.cpp", target_is_directory=True
    )
    write_config(quantize.folder, "m.yaml", model="./model", types=["Q8_0"])
    both = [
        quantize.start("quantize-gguf", "m.yaml", "-n", env={"LLMCOURSE_CACHE": str(own)}) for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert not list(own.rglob("scratch"))


SMALL_DISK = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root"
)


@pytest.mark.slow
@SMALL_DISK
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_after(
    quantize: Cli, undisturbed: dict[str, str]
) -> None:
    small = quantize.folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9M", "tmpfs", small], check=False).returncode:
        pytest.skip("this machine does not allow mounting")
    run = [argument if argument != "out" else str(small / "out") for argument in RUN]
    try:
        refused = quantize(*run)
        assert refused.exit_code == 4 and "are free" in refused.stderr, refused.stderr
        subprocess.run(["mount", "-o", "remount,size=30M", small], check=True)
        shutil.copytree(staging(quantize.folder), staging(small))
        process = quantize.start(*run)
        wait_for(matches(staging(small) / "scratch", "Q*/scratch"), process)
        # Enough by the plan, then somebody else fills the disk but for half a megabyte.
        free = shutil.disk_usage(small).free
        (small / "filler").write_bytes(b"x" * max(0, free - 500_000))
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 4, (process.returncode, stdout, stderr)
        assert "disk is full" in stderr and "Free some space" in stderr and "Traceback" not in stderr
        assert not (small / "out").exists()
        for path in (staging(small) / "files").glob("*.gguf"):
            assert sha256_of(path) == undisturbed[path.name]
        (small / "filler").unlink()
        result = quantize(*run)
        assert result.exit_code == 0, result.stderr
        assert not [step for step in steps(result) if "convert" in step]
        assert digests(result.json["files"]) == undisturbed and whole(small / "out")
    finally:
        subprocess.run(["umount", small], check=True)
