"""What is printed, where, and how it looks when nobody watches."""

import json
import re
from pathlib import Path

import pytest

from llmcourse.core.artifact import Artifact, HubLocation, OutputFile
from llmcourse.core.console import Console, human_bytes, human_seconds
from llmcourse.core.errors import ConfigError, LibraryError, PlanError, Problems
from llmcourse.core.plan import Estimate, Plan, fail, ok, warn
from llmcourse.core.progress import (
    Advanced,
    Finished,
    Note,
    Progress,
    Started,
    event_from_json,
    event_to_json,
)

Capture = pytest.CaptureFixture[str]

ARTIFACT = Artifact(
    "merge", "/out/merged", "f", (OutputFile("w.bin", 2_000_000, "0" * 64),), {}, {}, {"run": 61.0}
)
PUBLISHED = HubLocation("me/merged", "main", "abcdef" * 6 + "abcd", "https://hub/me/merged")


def run_a_step(console: Console) -> None:
    with Progress(console.event).step("merge", 4, "tensors") as step:
        step.advance(2)
        step.advance(2)


def test_without_a_terminal_a_step_is_a_line_at_its_start_and_end(capsys: Capture) -> None:
    run_a_step(Console())
    captured = capsys.readouterr()
    assert re.fullmatch(r"merge …\nmerge: done in \d\.\d s\n", captured.err)
    assert captured.out == ""


def test_a_step_that_fails_is_not_said_to_be_done(capsys: Capture) -> None:
    with pytest.raises(ZeroDivisionError), Progress(Console().event).step("merge"):
        _ = 1 // 0
    assert capsys.readouterr().err == "merge …\n"


def test_json_progress_is_one_event_a_line_on_stderr(capsys: Capture) -> None:
    console = Console(progress="json")
    run_a_step(console)
    console.event(Note("tokenizer copied"))
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.err.splitlines()] == [
        {"event": "started", "step": "merge", "total": 4, "unit": "tensors"},
        {"event": "advanced", "step": "merge", "done": 2},
        {"event": "advanced", "step": "merge", "done": 4},
        {"event": "finished", "step": "merge"},
        {"event": "note", "text": "tokenizer copied"},
    ]
    assert captured.out == ""


@pytest.mark.parametrize("console", [Console(progress="none"), Console(is_quiet=True)])
def test_progress_can_be_silent(capsys: Capture, console: Console) -> None:
    run_a_step(console)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("console", [Console(is_quiet=True), Console(progress="json")])
def test_notes_are_for_people_alone(capsys: Capture, console: Console) -> None:
    console.note("a model was taken from the cache")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "event", [Started("a", 1, "B"), Started("a"), Advanced("a", 2), Finished("a"), Note("n")]
)
def test_events_survive_json(event: Started | Advanced | Finished | Note) -> None:
    assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


def test_an_error_is_two_sentences_with_the_place_in_front(capsys: Capture) -> None:
    Console().error(ConfigError("'densty' is not a known key.", "Did you mean 'density'?", "m.yaml:7:3"))
    captured = capsys.readouterr()
    assert captured.err == "error: m.yaml:7:3: 'densty' is not a known key.\nfix: Did you mean 'density'?\n"
    assert captured.out == ""


def test_a_place_that_the_sentence_names_is_not_repeated(capsys: Capture) -> None:
    Console().error(PlanError("org/a is gated.", "Ask for access.", "org/a"))
    assert capsys.readouterr().err == "error: org/a is gated.\nfix: Ask for access.\n"


def test_long_sentences_are_not_broken_into_lines(capsys: Capture) -> None:
    Console().error(PlanError("x " * 200 + "end.", "y " * 200 + "end."))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_markup_in_a_user_s_value_is_printed_as_it_is(capsys: Capture) -> None:
    Console().error(PlanError("[red]a[/red] is bad.", "[bold]"))
    Console().note("[link=x]folder[/link]")
    err = capsys.readouterr().err
    assert err == "error: [red]a[/red] is bad.\nfix: [bold]\n[link=x]folder[/link]\n"


def test_every_problem_is_printed(capsys: Capture) -> None:
    Console().error(Problems([ConfigError("A.", "B."), ConfigError("C.", "D.")]))
    assert capsys.readouterr().err == "error: A.\nfix: B.\nerror: C.\nfix: D.\n"


def test_with_json_an_error_is_the_document_of_stdout(capsys: Capture) -> None:
    problems = Problems([PlanError("A.", "B.", "x"), PlanError("C.", "D.")])
    Console(is_json=True).error(problems)
    document = json.loads(capsys.readouterr().out)["error"]
    assert {key: document[key] for key in ("exit_code", "what", "fix", "where")} == {
        "exit_code": 4, "what": "A.", "fix": "B.", "where": "x",
    }  # fmt: skip
    assert [one["what"] for one in document["problems"]] == ["A.", "C."]


def test_a_library_s_failure_shows_the_end_of_its_log(capsys: Capture, tmp_path: Path) -> None:
    error = LibraryError("mergekit failed: boom", "Read the log.")
    error.log = tmp_path / "run.log"
    error.log.write_text("".join(f"line {number}\n" for number in range(30)))
    Console().error(error)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  | line 10"
    place = f"  | (all of it: {error.log})"
    assert lines[19:] == ["  | line 29", place, "error: mergekit failed: boom", "fix: Read the log."]


def test_a_bug_is_one_sentence_and_with_v_a_traceback(capsys: Capture) -> None:
    Console().crash(KeyError("x"))
    assert capsys.readouterr().err.splitlines()[0] == "error: llmcourse has a bug: KeyError: 'x'"
    try:
        raise KeyError("x")
    except KeyError as error:
        Console(is_verbose=True).crash(error)
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_result_is_said_for_people(capsys: Capture) -> None:
    Console().result(ARTIFACT)
    assert capsys.readouterr().out == "merge: /out/merged (1 file, 2.0 MB; made in 1 min 01 s)\n"


def test_a_quiet_result_is_the_reference_alone(capsys: Capture) -> None:
    Console(is_quiet=True).result(ARTIFACT)
    published = Artifact(**vars(ARTIFACT) | {"hub": PUBLISHED})
    Console(is_quiet=True).result(published)
    assert capsys.readouterr().out == f"/out/merged\nhf://me/merged@{PUBLISHED.commit}\n"


def test_a_json_result_is_one_document(capsys: Capture) -> None:
    Console(is_json=True).result(ARTIFACT)
    document = json.loads(capsys.readouterr().out)
    assert document["reference"] == "/out/merged"
    assert document["files"] == [{"path": "w.bin", "size": 2_000_000, "sha256": "0" * 64}]


PLAN = Plan(
    "merge", (("method", "SLERP"),), ("merge the result",),
    (ok("a", "fine"), warn("b", "odd", "Look."), fail("c", "bad", "Mend.")), Estimate(write=1500),
)  # fmt: skip


def test_a_plan_shows_what_happens_what_it_needs_and_every_check(capsys: Capture) -> None:
    Console().plan(PLAN)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "method       SLERP", "download     0 B", "write        1.5 kB", "peak memory  0 B",
        "✓ a: fine", "! b: odd", "  → Look.", "✗ c: bad", "  → Mend.",
    ]  # fmt: skip


def test_a_plan_is_one_json_document(capsys: Capture) -> None:
    Console(is_json=True).plan(PLAN)
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["estimate"]["write"]) == (4, 1500)
    assert [check["status"] for check in document["checks"]] == ["ok", "warn", "fail"]


@pytest.mark.parametrize(("variable", "has_colour"), [("NO_COLOR", False), ("FORCE_COLOR", True)])
def test_colour_is_the_environment_s_choice(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, variable: str, has_colour: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    Console().error(PlanError("A.", "B."))
    assert ("\x1b" in capsys.readouterr().err) == has_colour


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (14_480_000_000, "14.5 GB"),
     (2_000_000_000_000, "2.00 TB")],
)  # fmt: skip
def test_bytes_are_readable(value: int, text: str) -> None:
    assert human_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (61.4, "1 min 01 s"), (3599.6, "1 h 00 min"),
     (7384, "2 h 03 min")],
)  # fmt: skip
def test_durations_are_readable(value: float, text: str) -> None:
    assert human_seconds(value) == text
