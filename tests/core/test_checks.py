"""The checks that every plan gets."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmcourse.core.artifact import Artifact
from llmcourse.core.checks import (
    disk_check,
    gpu_memory_check,
    library_checks,
    memory_check,
    output_check,
    push_check,
)
from llmcourse.core.command import refusal
from llmcourse.core.errors import (
    BY_NAME,
    ConfigError,
    LibraryError,
    LlmcourseError,
    MissingError,
    PlanError,
    Problems,
    PublishError,
    file_error,
)
from llmcourse.core.hub import Target
from llmcourse.core.machine import Gpu, Machine, free_disk_bytes
from llmcourse.core.plan import Check, Estimate, Plan, fail, failure, mistake, ok, warn
from llmcourse.core.workspace import save_artifact

EARTH = 10**18
MACHINE = Machine(cpus=2, memory_bytes=1_000_000_000, total_memory_bytes=8_000_000_000)


def result(folder: Path, fingerprint: str) -> None:
    """What an earlier run left."""
    folder.mkdir()
    save_artifact(folder, Artifact("merge", str(folder), fingerprint, (), {}, {}, {}))


def test_an_installed_library_is_named_with_its_version() -> None:
    [check] = library_checks(["mergekit"], "merge")
    assert (check.status, check.name) == ("ok", "mergekit")
    assert check.what[0].isdigit()


def test_all_that_is_not_installed_is_one_failure_with_one_command() -> None:
    names = ["no_such_one", "mergekit", "no_such_two"]
    missing, present = library_checks(names, "merge")
    assert missing.what == "The libraries no_such_one, no_such_two are not installed."
    assert (missing.exit_code, missing.fix) == (3, "Run: pip install 'llmcourse[merge]'")
    assert present.name == "mergekit"
    plan = Plan("merge", (), (), (), Estimate())
    for libraries in (["no_such_one"], ["no_such_two"], ["no_such_one"]):
        plan = plan.with_checks(library_checks(libraries, "merge"))
    [only] = plan.failures
    assert only.name == "no_such_one, no_such_two" and only.what.count("no_such_one") == 1


def test_a_new_or_empty_output_folder_is_fine(tmp_path: Path) -> None:
    assert output_check(tmp_path / "new", "f", force=False, inputs=()) == ok("output", str(tmp_path / "new"))
    assert output_check(tmp_path, "f", force=False, inputs=()).status == "ok"


def test_a_file_or_a_link_to_one_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        check = output_check(tmp_path / name, "f", force=True, inputs=())
        assert (check.status, check.what) == ("fail", f"{tmp_path / name} is a file.")


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    check = output_check(tmp_path, "f", force=True, inputs=())
    assert (check.status, check.exit_code) == ("fail", 4)
    assert check.what == f"{tmp_path} exists and llmcourse did not make it."


@pytest.mark.parametrize(
    ("fingerprint", "force", "status"),
    [("f", False, "ok"), ("g", False, "fail"), ("g", True, "warn"), ("f", True, "ok")],
)
def test_the_result_of_another_run_is_replaced_only_by_force(
    tmp_path: Path, fingerprint: str, force: bool, status: str
) -> None:
    result(tmp_path / "out", "f")
    check = output_check(tmp_path / "out", fingerprint, force, inputs=())
    assert check.status == status
    assert ("--force" in check.fix) == (status == "fail")


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    check = disk_check(Estimate(write=EARTH), tmp_path / "out", None)
    assert check.status == "fail"
    assert check.what.startswith(f"1000000.00 TB are needed near {tmp_path}, ")


def test_a_download_to_the_same_disk_counts_with_what_is_written(tmp_path: Path) -> None:
    half = free_disk_bytes(tmp_path) * 2 // 3
    together = Estimate(download=half, write=half)
    assert disk_check(together, tmp_path / "out", tmp_path / "cache").status == "fail"
    assert disk_check(replace(together, download=0), tmp_path / "out", tmp_path / "cache").status == "ok"


@pytest.mark.parametrize(
    ("memory", "status"), [(100_000_000, "ok"), (900_000_000, "warn"), (1_100_000_000, "fail")]
)
def test_memory_that_is_tight_warns_and_that_is_short_refuses(memory: int, status: str) -> None:
    check = memory_check(Estimate(memory=memory), MACHINE)
    assert check.status == status
    assert "needed at the peak, 1.0 GB free" in check.what


def test_a_gpu_with_too_little_free_memory_refuses() -> None:
    machine = replace(MACHINE, gpus=(Gpu("H100", 1_000_000_000),))
    assert gpu_memory_check(Estimate(vram=500_000_000), machine).status == "ok"
    refused = gpu_memory_check(Estimate(vram=2_000_000_000), machine)
    assert (refused.status, refused.exit_code) == ("fail", 4)


HELD = Target("me/x", "main", private=False, exists=True, head="c" * 40, files={}, fingerprint="f")


@pytest.mark.parametrize(
    ("target", "force", "status", "what"),
    [
        (Target("me/x", "main", private=True), False, "ok", "me/x@main (new, private)"),
        (Target("me/x", "dev", private=False), False, "ok", "me/x@dev (new, public)"),
        (HELD, False, "ok", "me/x@main"),
        (
            replace(HELD, fingerprint="g", files={"model.safetensors": None}),  # type: ignore[dict-item]
            False,
            "fail",
            "me/x@main holds another model already.",
        ),
        (
            replace(HELD, fingerprint="g", files={"model.safetensors": None}),  # type: ignore[dict-item]
            True,
            "warn",
            "me/x@main holds another model and will be replaced by one commit.",
        ),
        (PlanError("Your Hub token may only read.", "fix"), True, "fail", "Your Hub token may only read."),
    ],
)
def test_a_push_target_is_taken_only_if_it_is_free_or_ours(
    target: Target | LlmcourseError, force: bool, status: str, what: str
) -> None:
    check = push_check(target, "f", force, inputs=())
    assert (check.status, check.what) == (status, what)


def plan(*checks: Check) -> Plan:
    return Plan("merge", (), (), checks, Estimate())


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ((ok("a", "a"), warn("b", "b")), 0),
        ((failure(MissingError("m", "f")),), 3),
        ((failure(MissingError("m", "f")), fail("p", "p", "f")), 4),
        ((failure(ConfigError("c", "f")),), 2),
        ((failure(MissingError("m", "f")), fail("p", "p", "f"), mistake("c", "c", "f")), 2),
        ((failure(MissingError("m", "f")), mistake("c", "c", "f")), 2),
    ],
)
def test_of_several_failures_the_config_decides_the_exit_code_then_the_inputs(
    checks: tuple[Check, ...], code: int
) -> None:
    assert plan(*checks).exit_code == code
    assert plan(*checks).as_json()["exit_code"] == code


def test_what_decides_the_exit_code_is_told_first() -> None:
    found = [MissingError("m", "f"), PlanError("p", "f"), ConfigError("c", "f")]
    refused = refusal(plan(*map(failure, found)))
    assert (refused.exit_code, refused.what) == (2, "c")
    assert [item["exit_code"] for item in refused.as_json()["problems"]] == [2, 3, 4]
    # A run that failed says more than a push that could not be made.
    assert Problems([PublishError("push", "f"), LibraryError("run", "f")]).exit_code == 5


@pytest.mark.parametrize("kind", BY_NAME.values())
def test_a_failed_check_becomes_the_error_it_came_from(kind: type[LlmcourseError]) -> None:
    error = failure(kind("what", "fix", "where")).error()
    assert type(error) is kind
    assert (error.what, error.fix, error.where) == ("what", "fix", "where")


def test_a_full_disk_and_a_forbidden_path_are_said_in_words() -> None:
    full = file_error(OSError(28, "No space left on device", "/out/x"))
    assert full.what == "/out/x: the disk is full."
    denied = file_error(PermissionError(13, "Permission denied", "/out/x"))
    assert (denied.what, denied.exit_code) == ("/out/x: Permission denied.", 4)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("place", ["model", "."])
def test_the_model_itself_is_never_replaced(force: bool, place: str, tmp_path: Path) -> None:
    model = tmp_path / "parent" / "model"
    model.mkdir(parents=True)
    check = output_check(tmp_path / "parent" / place, "f", force, [model])
    assert (check.status, check.fix) == ("fail", "Choose a new folder with -o.")
    assert "holds the model that this is made from" in check.what


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_where_no_disk_is_behind_a_folder_it_is_not_said_to_be_full() -> None:
    check = disk_check(Estimate(write=40_000), Path("/proc/x"), None)
    assert (check.status, check.exit_code) == ("fail", 4)
    assert check.what == "/proc cannot be written to: there is no disk behind it."


def test_a_mount_point_is_no_output_and_a_folder_in_it_is(tmp_path: Path) -> None:
    check = output_check(Path("/dev/shm"), "f", force=True, inputs=())
    assert (check.status, "-o /dev/shm/result" in check.fix) == ("fail", True)
    assert output_check(Path("/dev/shm/result"), "f", force=False, inputs=()).status == "ok"
