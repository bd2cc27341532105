"""Figures of groups, and the report: what YALL reads, what people read, what fails loudly."""

import math
import re
from dataclasses import replace

import pytest

from llmcourse.autoeval.config import Runtime
from llmcourse.autoeval.report import as_json, elapsed, markdown
from llmcourse.autoeval.scores import average, scores
from llmcourse.autoeval.suite import Suite, Task
from llmcourse.autoeval.suites import read_suite
from tests.autoeval.builders import by_model, group, outcome, suite

NOUS = suite(
    group("AGIEval", "a", "b"), group("GPT4All", "c"), group("TruthfulQA", "d"), group("Bigbench", "e", "f")
)
RESULTS = by_model(
    *(outcome(name, value) for name, value in zip("abcdef", (0.2, 0.4, 0.5, 0.61234, 1, 0), strict=True))
)
VERSIONS = {"lm-eval": "0.4.13"}
USUAL = Runtime()


def text_of(
    chosen: Suite = NOUS, results: object = RESULTS, seconds: float = 60, runtime: Runtime = USUAL
) -> str:
    return markdown(chosen, results, seconds, VERSIONS, runtime)  # type: ignore[arg-type]


def as_yall_reads(text: str) -> list[float]:
    """Line 3 by columns, as the leaderboard's script takes it apart, and the link in the first of them."""
    cells = text.split("\n")[2].split("|")[1:-1]
    assert re.search(r"\[([^\]]+)\]\(https://huggingface.co/([^/]+)/([^)]+)\)", cells[0].strip())
    return [float(cell.strip()) for cell in cells[1:6]]


def test_yall_reads_the_groups_and_the_average() -> None:
    assert as_yall_reads(text_of()) == [30.00, 50.00, 61.23, 50.00, 47.81]


def yall_skips(text: str) -> bool:
    """As the leaderboard's script decides it, before it reads line 3."""
    return "Error: File does not exist" in text


def test_yall_skips_what_it_could_not_read() -> None:
    assert not yall_skips(text_of())
    broken = {"org/tiny": dict(RESULTS["org/tiny"]) | {"a": outcome("a", error="no data")}}
    assert yall_skips(text_of(results=broken))
    assert yall_skips(text_of(suite(group("A", "a"), group("B", "b"))))


def test_a_model_s_name_shifts_no_column_for_yall() -> None:
    named = by_model(*(replace(result, model="a|b") for result in RESULTS["org/tiny"].values()))
    cells = text_of(results=named).split("\n")[2].split("|")[1:-1]
    assert [float(cell) for cell in cells[1:]] == [30.00, 50.00, 61.23, 50.00, 47.81]


def test_conditions_stand_below_the_first_table_and_the_limit_at_each() -> None:
    chosen = suite(group("A", "a"), group("B", "b"))
    runtime = Runtime(
        limit=4, apply_chat_template=True, think_end_token="</think>", system_instruction="Be brief."
    )
    text = text_of(chosen, runtime=runtime)
    assert text.count("Only 4 samples of each task: a trial, no result.") == 3
    for sentence in (
        "Prompts are in the model's chat template, examples as turns of the chat.",
        'The system says: "Be brief."',
        "The answer is what follows `</think>`.",
    ):
        assert text.count(sentence) == 1
    told = as_json(chosen, RESULTS, 1, VERSIONS, runtime)["runtime"]
    assert told == {
        "limit": 4, "apply_chat_template": True, "think_end_token": "</think>",
        "system_instruction": "Be brief.",
    }  # fmt: skip


def test_what_a_model_was_not_shown_is_told_beside_the_figure() -> None:
    cut = outcome("a", truncated={"prompts": 2, "tokens": 88}, unfinished_thoughts=3)
    text = text_of(suite(group("G", "a")), by_model(cut))
    assert "a: 2 prompts lost 88 tokens at the front" in text
    assert "a: 3 of the answers end within a thought" in text


def test_groups_are_means_without_weights_and_the_average_is_theirs() -> None:
    found = scores(NOUS, by_model(outcome("a", 0.2, samples=1), outcome("b", 0.4, samples=999)), "org/tiny")
    assert found[0].value == pytest.approx(30)
    full = scores(NOUS, RESULTS, "org/tiny")
    assert average(full) == pytest.approx((30 + 50 + 61.234 + 50) / 4)


def test_a_suite_may_weight_by_size() -> None:
    chosen = suite(group("MMLU", "a", "b", average="size"))
    results = by_model(outcome("a", 0.2, samples=100), outcome("b", 0.4, samples=300))
    assert scores(chosen, results, "org/tiny")[0].value == pytest.approx(35)


def test_acc_norm_counts_where_there_is_one() -> None:
    both = outcome("c", metrics={"acc,none": 0.1, "acc_norm,none": 0.7})
    assert scores(suite(group("G", "c")), by_model(both), "org/tiny")[0].value == pytest.approx(70)


def test_a_metric_may_be_named_with_its_filter() -> None:
    result = outcome("c", metrics={"exact_match,strict-match": 0.1, "exact_match,flexible-extract": 0.7})
    chosen = suite(group("GSM8K", "c", metric=["exact_match,flexible-extract"]))
    assert scores(chosen, by_model(result), "org/tiny")[0].value == pytest.approx(70)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (outcome("a", error="OSError: no data"), "a: OSError: no data"),
        (outcome("a", math.nan), "a: its acc,none is nan"),
        (outcome("a", metric="bleu,none"), "a: it reports no acc_norm or acc, but bleu,none"),
        (None, "a: was not evaluated"),
    ],
)
def test_a_group_with_a_broken_task_has_a_reason_and_no_figure(broken: object, reason: str) -> None:
    results = dict(RESULTS["org/tiny"])
    results.pop("a")
    kept = {"org/tiny": results | ({"a": broken} if broken else {})}
    found = scores(NOUS, kept, "org/tiny")  # type: ignore[arg-type]
    assert (found[0].value, found[0].failed) == (None, reason)
    assert found[1].value == 50 and average(found) is None
    text = text_of(results=kept)
    assert f"failed: {reason}" in text.splitlines()[2] and text.splitlines()[2].endswith("|       |")
    assert f"Failed: {reason}" in text
    assert "Average score: not available, since AGIEval failed" in text
    data = as_json(NOUS, kept, 1, VERSIONS, USUAL)  # type: ignore[arg-type]
    assert data["models"]["org/tiny"]["groups"]["AGIEval"] == {"failed": reason}


def test_a_reason_breaks_no_table() -> None:
    kept = by_model(outcome("a", error="a | b\nc"))
    text = markdown(suite(group("G", "a")), kept, 1, VERSIONS, USUAL)
    assert "failed: a: a \\| b c" in text.splitlines()[2]


def test_a_table_has_every_metric_and_the_task_once() -> None:
    both = outcome("c", metrics={"acc,none": 0.1, "acc_norm,none": 0.7}, stderr={"acc,none": 0.034})
    lines = text_of(suite(group("G", "c")), by_model(both)).splitlines()
    assert "|Task|Version|Metric  |Value|   |Stderr|" in lines
    assert "|c   |    1.0|acc     |10.00|±  |  3.40|" in lines
    assert "|    |       |acc_norm|70.00|   |      |" in lines


def test_subtasks_of_a_group_follow_it() -> None:
    whole = outcome("mmlu", 0.5, parts=(outcome("mmlu_anatomy", 0.4),))
    assert "| - mmlu_anatomy|" in text_of(suite(group("MMLU", "mmlu")), by_model(whole))


def test_a_score_out_of_100_is_no_share_of_1() -> None:
    found = read_suite("eq-bench", None)
    text = markdown(found, by_model(outcome("eq_bench", 61.5, metric="eqbench,none")), 1, VERSIONS, USUAL)
    assert "61.50" in text.splitlines()[2] and "6150" not in text


def test_figures_of_different_kinds_have_no_average() -> None:
    found = read_suite(None, [Task(name="a"), Task(name="b")])
    results = by_model(outcome("a"), outcome("b", 12.5, metric="byte_perplexity,none"))
    text = markdown(found, results, 1, VERSIONS, USUAL)
    assert "12.50" in text and "of different kinds" in text


def test_models_have_a_row_each_and_a_part_each() -> None:
    second = [outcome(name, 0.9, model="folder") for name in "abcdef"]
    text = text_of(results=by_model(*RESULTS["org/tiny"].values(), *second))
    assert as_yall_reads(text)[0] == 30 and text.splitlines()[3].startswith("|folder ")
    assert "## org/tiny" in text and "## folder" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.6, "00:01:00"), (86_399, "23:59:59"), (90_061, "25:01:01"), (360_000, "100:00:00")],
)
def test_time_goes_on_after_a_day(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text
    assert f"Elapsed time: {text}" in text_of(seconds=seconds)
