"""Every suite names what lm-eval has; tasks of ours do what they say."""

from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.suite import ANY, Suite, Task
from llmcourse.autoeval.suites import NAMES, read_suite
from llmcourse.core.errors import ConfigError
from tests.autoeval.builders import plan_of, said

SUITES = [read_suite(name, None) for name in NAMES]


def names_in(suite: Suite, group: str) -> list[str]:
    return [task.name for found in suite.groups if found.name == group for task in found.tasks]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_lm_eval_has_every_task_and_its_metric(suite: Suite) -> None:
    from llmcourse.autoeval.catalog import described

    known = described({task.name for task in suite.tasks()})["tasks"]
    assert [name for name, entry in known.items() if entry is None] == []
    assert [name for name, entry in known.items() if entry["kind"] == "tag"] == []
    for group in suite.groups:
        for task in group.tasks:
            wanted = {name.partition(",")[0] for name in ([task.metric] if task.metric else group.metric)}
            assert ANY not in wanted
            assert wanted & set(known[task.name]["metrics"]), task.name
            assert not (known[task.name]["fewshot"] == 0 and task.fewshot), task.name


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_lm_eval_reads_the_files_of_every_task_from_the_folders_that_the_catalog_names(suite: Suite) -> None:
    from lm_eval.tasks import TaskManager

    from llmcourse.autoeval.catalog import catalog, folders_of

    names = {task.name for task in suite.tasks()}
    manager = TaskManager(include_path=folders_of(names), include_defaults=False)
    waiting = set(names)
    while waiting:  # groups, and groups in groups
        name = waiting.pop()
        assert name in manager.task_index
        waiting |= {member for member in catalog()[name]["members"] if member in catalog()}


def test_the_catalog_knows_the_filters_of_tasks_and_of_groups() -> None:
    from llmcourse.autoeval.catalog import described

    known = described(["gsm8k", "arc_easy", "mmlu", "leaderboard_bbh"])["tasks"]
    assert {name: entry["filters"] for name, entry in known.items()} == {
        "gsm8k": ["strict-match", "flexible-extract"],
        "arc_easy": ["none"],
        "mmlu": ["none"],
        "leaderboard_bbh": ["none"],
    }


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_the_plan_accepts_every_suite(suite: Suite) -> None:
    from llmcourse.autoeval.catalog import described

    plan = plan_of(
        f"model: org/tiny\nsuite: {suite.name}\n", answers=described({task.name for task in suite.tasks()})
    )
    assert said(plan) == []


def test_nous_is_the_34_tasks_of_the_nous_suite() -> None:
    suite = read_suite("nous", None)
    counts = {group.name: len(group.tasks) for group in suite.groups}
    assert counts == {"AGIEval": 8, "GPT4All": 7, "TruthfulQA": 1, "Bigbench": 18}
    assert suite.label == "nous@2" and {task.fewshot for task in suite.tasks()} == {0}
    assert all(group.average == "mean" for group in suite.groups)


def test_openllm_has_the_examples_of_the_leaderboard() -> None:
    suite = read_suite("openllm", None)
    found = {task.name: (task.fewshot, group.metric[0]) for group in suite.groups for task in group.tasks}
    assert found == {
        "arc_challenge": (25, "acc_norm"),
        "hellaswag": (10, "acc_norm"),
        "mmlu": (5, "acc"),
        "truthfulqa_mc2": (0, "acc"),
        "winogrande": (5, "acc"),
        "gsm8k": (5, "exact_match,strict-match"),
    }


@pytest.mark.parametrize(("size", "count"), [("three", 3), ("five", 5), ("seven", 7)])
@pytest.mark.parametrize("name", ["logical_deduction", "tracking_shuffled_objects"])
def test_a_bigbench_task_of_one_size_keeps_documents_of_that_size(name: str, size: str, count: int) -> None:
    from datasets import Dataset
    from lm_eval.tasks._yaml_loader import load_yaml

    from llmcourse.autoeval.catalog import OWN_TASKS

    task: dict[str, Any] = load_yaml(
        OWN_TASKS / "bigbench" / f"{name}_{size}_objects.yaml", resolve_func=True
    )
    assert (task["dataset_path"], task["dataset_name"]) == ("hails/bigbench", f"{name}_zero_shot")
    rows = [{"inputs": "", "multiple_choice_targets": ["x"] * choices} for choices in (3, 5, 7, 5, 3)]
    kept = task["process_docs"](Dataset.from_list(rows))
    assert {len(row["multiple_choice_targets"]) for row in kept} == {count}


def test_a_suite_of_one_s_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ngroups: [{name: G, tasks: [{name: arc_easy, fewshot: 3}]}]\n")
    assert next(read_suite(str(path), None).tasks()).fewshot == 3


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("name: x\ngroups: [{name: G, tasks: []}]\n", "groups.0.tasks is empty", "at least 1 item"),
        (
            "name: x\ngroups: [{name: G, metrc: [acc], tasks: [{name: a}]}]\n",
            "'metrc' is not a known key",
            "Did you mean 'metric'?",
        ),
        (
            "name: x\ngroups: [{name: G, tasks: [{name: a, shots: 1}]}]\n",
            "'shots' is not a known key",
            "fewshot",
        ),
        (
            "name: x\ngroups:\n- {name: G, tasks: [{name: a, fewshot: 1}]}\n"
            "- {name: H, tasks: [{name: a}]}\n",
            "a is there with two numbers of examples",
            "Use one of them",
        ),
        (
            "name: x\ngroups:\n- {name: G, tasks: [{name: a}]}\n- {name: G, tasks: [{name: b}]}\n",
            "The group G is there twice",
            "rename it",
        ),
        (
            "name: x\ngroups: [{name: G, tasks: [{name: a/b}, {name: a__b}]}]\n",
            "a/b and a__b are one name to a disk",
            "Keep one",
        ),
        ("name: x\ngroups: [{name: A|B, tasks: [{name: a}]}]\n", "'A|B' cannot stand in a table", "letters"),
        ("name: x\ngroups: [{name: '', tasks: [{name: a}]}]\n", "'' cannot stand in a table", "letters"),
        (
            "name: x\ngroups: [{name: Average, tasks: [{name: a}]}]\n",
            "Average is what leaderboards",
            "another",
        ),
        (
            "name: ../../x\ngroups: [{name: G, tasks: [{name: a}]}]\n",
            "name is '../../x', which",
            "fits the expression",
        ),
        (
            "name: x\ngroups: [{name: G, metric: [], tasks: [{name: a}]}]\n",
            "groups.0.metric",
            "Write at least",
        ),
    ],
)
def test_a_wrong_suite_is_told_with_its_place(tmp_path: Path, text: str, what: str, fix: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_suite(str(path), None)
    assert what in str(caught.value) and fix in caught.value.fix and "mine.yaml" in str(caught.value.where)


def test_a_task_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="arc_easy is there twice"):
        read_suite(None, [Task(name="arc_easy"), Task(name="arc_easy")])


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ConfigError, match="no suite 'nouse'") as caught:
        read_suite("nouse", None)
    assert "nous" in caught.value.fix
