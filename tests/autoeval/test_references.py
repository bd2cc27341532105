"""Results of others that are drawn beside these: read in the plan, and each under a name of its own."""

import json
from pathlib import Path

import pytest

from llmcourse.autoeval.plan import look_up
from llmcourse.autoeval.references import beside, read_reference
from llmcourse.core.errors import PlanError
from tests.autoeval.builders import config, plan_of, said

GOOD = {
    "models": {"org/tiny": {"groups": {"AGIEval": {"value": 25.0}, "GPT4All": {"failed": "a: it broke"}}}}
}


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "other").mkdir(exist_ok=True)
    (tmp_path / "other" / "results.json").write_text(text)
    return tmp_path / "other"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("no JSON", "Expecting value"),
        ("[]", "it is no mapping"),
        ("{}", "models are no mapping"),
        (json.dumps({"models": [1]}), "models are no mapping"),
        (json.dumps({"models": {"m": 1}}), "m is no mapping"),
        (json.dumps({"models": {"m": {"groups": [1]}}}), "groups of m are no mapping"),
        (json.dumps({"models": {"m": {"groups": {"G": 3}}}}), "G is no mapping"),
        (
            json.dumps({"models": {"m": {"groups": {"G": {"value": "x"}}}}}),
            "the value of G of m is no number",
        ),
        (json.dumps({"models": {"m": {"groups": {"G": {"value": float("nan")}}}}}), "is no number"),
        ("[" * 100_000, "holds no figures of autoeval"),
    ],
)
def test_what_holds_no_figures_is_refused_by_the_plan(tmp_path: Path, text: str, told: str) -> None:
    wish = f"model: org/tiny\nsuite: tiny\nreference: [{folder(tmp_path, text)}]\n"
    plan = plan_of(wish, present=look_up(config(wish)))
    (line,) = [line for line in said(plan) if line.startswith("reference ")]
    assert told in line and line.endswith("Name the folder of a result of llmcourse autoeval.")
    assert plan.exit_code == 4
    with pytest.raises(PlanError):
        read_reference(tmp_path / "other" / "results.json")


def test_a_result_is_fine_and_its_failed_groups_are_left_out(tmp_path: Path) -> None:
    wish = f"model: org/tiny\nsuite: tiny\nreference: [{folder(tmp_path, json.dumps(GOOD))}]\n"
    assert not [line for line in said(plan_of(wish, present=look_up(config(wish)))) if "reference" in line]
    assert read_reference(tmp_path / "other" / "results.json") == {"org/tiny": {"AGIEval": 25.0}}


def test_a_reference_of_the_same_name_replaces_no_figure() -> None:
    own, other, third = ({"org/tiny": {"AGIEval": value}} for value in (1.0, 2.0, 3.0))
    drawn = beside(own, {"a/scores": other, "b/scores": third})
    assert [(name, values["AGIEval"]) for name, values in drawn.items()] == [
        ("org/tiny", 1.0),
        ("org/tiny (scores)", 2.0),
        ("org/tiny (scores, 2)", 3.0),
    ]
