"""Figures in a model's own repository: benchmarks' entries, the card's index, and nothing else touched."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmcourse.autoeval.publishing.figures import Figure, figures, group_figures
from llmcourse.autoeval.publishing.head import with_key
from llmcourse.autoeval.publishing.model_index import with_figures
from llmcourse.autoeval.publishing.table import with_table
from llmcourse.autoeval.results import TaskResult
from llmcourse.autoeval.suite import Group, Suite, Task
from llmcourse.core.errors import PublishError
from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.hub.client import run_client

MODEL = "alice/tiny"
SOURCE = ("llmcourse openllm", "https://huggingface.co/datasets/alice/results")
GSM8K = TaskResult(
    MODEL, "gsm8k", "3", 5, {"exact_match,strict-match": 0.41234, "exact_match,flexible-extract": 0.5},
    dataset="openai/gsm8k", dataset_config="main", split="test", samples=10,
)  # fmt: skip
ARC = TaskResult(
    MODEL, "arc_challenge", "1", 25, {"acc,none": 0.3, "acc_norm,none": 0.345}, dataset="allenai/ai2_arc",
    dataset_config="ARC-Challenge", split="test", samples=10,
)  # fmt: skip
FAILED = TaskResult(MODEL, "mmlu", error="out of memory")
RESULTS = {result.task: result for result in (ARC, FAILED, GSM8K)}
SUITE = Suite(
    name="openllm",
    groups=[
        Group(name="ARC", tasks=[Task(name="arc_challenge")], metric=["acc_norm"]),
        Group(name="MMLU", tasks=[Task(name="mmlu")], metric=["acc"]),
        Group(name="GSM8K", tasks=[Task(name="gsm8k", metric="exact_match,strict-match")]),
    ],
)
PLACES = ("model-index", "eval_results")
CARD = """---
# by hand
license: apache-2.0
tags: [ 'a', "b" ]   # two
base_model:
- org/base

language:
  - en
---
# Tiny

--- not a head ---
"""


def head(card: str) -> Any:
    return yaml.safe_load(card.split("---\n")[1])


def made(card: str = CARD) -> str:
    return with_figures(card, "tiny", SUITE, group_figures(SUITE, RESULTS), SOURCE)


def test_what_counts_is_published_and_what_failed_is_not() -> None:
    found = [(figure.result.task, figure.metric, figure.value) for figure in figures(SUITE, RESULTS)]
    assert found == [
        ("arc_challenge", "acc_norm,none", 34.5),
        ("gsm8k", "exact_match,strict-match", 41.23),
    ]


def test_the_index_says_what_the_hub_asks_for() -> None:
    (model,) = head(made())["model-index"]
    assert model["name"] == "tiny"
    assert model["results"][0] == {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {
            "type": "allenai/ai2_arc", "name": "ARC (25-shot)", "config": "ARC-Challenge",
            "split": "test", "args": {"num_few_shot": 25},
        },
        "metrics": [{"type": "acc_norm", "value": 34.5, "name": "normalized accuracy"}],
        "source": {"name": SOURCE[0], "url": SOURCE[1]},
    }  # fmt: skip


def two_groups() -> tuple[Suite, dict[str, TaskResult]]:
    """A suite as nous: groups of several tasks; all of them have figures."""
    chosen = Suite(
        name="nous",
        version=2,
        groups=[
            Group(name="GPT4All", tasks=[Task(name="arc_challenge"), Task(name="piqa")]),
            Group(name="Maths", tasks=[Task(name="gsm8k", metric="exact_match,strict-match")]),
        ],
    )
    piqa = TaskResult(MODEL, "piqa", "1", 0, {"acc,none": 0.6, "acc_norm,none": 0.7}, dataset="baber/piqa")
    return chosen, {"arc_challenge": ARC, "piqa": piqa, "gsm8k": GSM8K}


def test_the_index_has_the_figures_that_people_cite() -> None:
    """Means of groups and their average, and none of single tasks."""
    chosen, results = two_groups()
    card = with_figures(CARD, "tiny", chosen, group_figures(chosen, results), SOURCE)
    (model,) = head(card)["model-index"]
    found = [
        (item["dataset"]["type"], item["dataset"]["name"], item["metrics"][0]) for item in model["results"]
    ]
    assert found == [
        ("nous-gpt4all", "GPT4All, 2 tasks of nous@2",
         {"type": "acc_norm", "value": 52.25, "name": "normalized accuracy"}),
        ("openai/gsm8k", "Maths (5-shot)", {"type": "exact_match", "value": 41.23, "name": "exact match"}),
        ("nous", "nous@2", {"type": "mean", "value": 46.74, "name": "average"}),
    ]  # fmt: skip


def test_the_card_s_body_has_a_table_between_markers_of_the_suite() -> None:
    chosen, results = two_groups()
    groups, tasks = group_figures(chosen, results), list(figures(chosen, results))
    after = with_table(CARD, chosen, groups, tasks, ["Made by x.", "The answer is y."], "https://x")
    assert after.startswith(CARD)
    assert "| GPT4All | Maths | Average |\n|---:|---:|---:|\n| 52.25 | 41.23 | 46.74 |\n" in after
    assert "[All figures](https://x). Made by x. The answer is y." in after
    assert "| piqa | 0 | acc_norm | 70.00 |" in after.partition("<details>")[2]
    assert with_table(after, chosen, groups, tasks, ["Made by x.", "The answer is y."], "https://x") == after
    other = chosen.model_copy(update={"name": "openllm"})
    both = with_table(after, other, groups, tasks, [], "https://x")
    assert both.startswith(after) and both.count("## Evaluation: ") == 2
    assert with_table(CARD, chosen, [], [], [], "https://x") == CARD
    assert "All figures" not in with_table(CARD, chosen, groups, tasks, ["Made by x."], "")


def test_a_group_that_failed_is_in_no_average() -> None:
    assert [figure.name for figure in group_figures(SUITE, RESULTS)] == ["ARC", "GSM8K"]


def test_every_other_byte_of_the_card_stays() -> None:
    after = made()
    start = after.index("model-index:")
    end = after.index("---\n# Tiny")
    assert after[:start] + after[end:] == CARD
    assert made(after) == after


def test_line_ends_of_the_card_stay(tmp_path: Path) -> None:
    windows = made(CARD.replace("\n", "\r\n"))
    assert "\n" not in windows.replace("\r\n", "")
    assert windows.replace("\r\n", "\n") == made()


@pytest.mark.parametrize(
    "card",
    ["", "# Only text\n", "---\n---\n", "---\nmodel-index:\n---\ntext", "---\n'model-index': []\n---\ntext"],
)
def test_a_card_without_an_index_gets_one(card: str) -> None:
    after = made(card)
    assert len(head(after)["model-index"][0]["results"]) == 2
    assert after.endswith(card.rpartition("---\n")[2])


def test_only_ours_of_this_suite_are_replaced() -> None:
    theirs = {"task": {"type": "text-generation"}, "dataset": {"type": "d", "name": "D"},
              "metrics": [{"type": "acc", "value": 1.5}]}  # fmt: skip
    nous = {**theirs, "source": {"name": "llmcourse nous", "url": "https://x"}}
    old = {**theirs, "source": {"name": SOURCE[0], "url": "https://x"}}
    before = with_key(CARD, "model-index", [{"name": "Tiny 1", "results": [theirs, old, nous]}])
    (model,) = head(made(before))["model-index"]
    assert model["name"] == "Tiny 1"
    assert model["results"][:2] == [theirs, nous] and len(model["results"]) == 4


def test_an_index_in_the_middle_keeps_what_is_around_it() -> None:
    before = CARD.replace(
        "language:", "model-index:\n- name: tiny\n  results: []\n\n# the language\nlanguage:"
    )
    after = made(before)
    assert after.index("\n\n# the language\nlanguage:\n  - en\n") > after.index("num_few_shot")


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("---\na: [\n---\n", "is no YAML"),
        ("---\n- a\n---\n", "is no mapping"),
        ("---\nmodel-index: 3\n---\n", "is no list"),
        ("---\n{a: 1}\n---\n", "cannot be added safely|is no YAML"),
        ("---\n{a: 1, model-index: []}\n---\n", "cannot be added safely|is no YAML"),
    ],
)
def test_a_card_that_cannot_be_changed_safely_is_left_alone(card: str, sentence: str) -> None:
    with pytest.raises(PublishError, match=sentence):
        made(card)


def put(repo: str, as_pull_request: bool, revision: Any = None) -> Any:
    """Publish figures as the program does; in a process of its own."""
    from llmcourse.autoeval.publishing import hub as publishing
    from llmcourse.core import hub
    from llmcourse.core.errors import LlmcourseError
    from tests.autoeval.test_eval_results import RESULTS, SUITE

    try:
        place = hub.editable(repo, revision, as_pull_request, "publish.hub")
        return publishing.put(place, SUITE, RESULTS, "https://x", "lm-eval 0.4.13")
    except LlmcourseError as error:
        return {"exit": error.exit_code, "what": error.what, "fix": error.fix}


def run(hub: LoopbackHub, user: str = "alice", as_pull_request: bool = False, revision: Any = None) -> Any:
    return run_client(hub, put, MODEL, as_pull_request, revision, user=user)


@pytest.fixture
def model(hub: LoopbackHub) -> Any:
    """A model with a card, and a benchmark of the Hub."""
    tasks = [{"id": "gsm8k", "config": "main"}, {"id": "socratic", "config": "socratic"}]
    hub.repo("openai/gsm8k", "dataset").add_files({"eval.yaml": yaml.safe_dump({"tasks": tasks}).encode()})
    hub.repo("allenai/ai2_arc", "dataset").add_files({"README.md": b"no benchmark"})
    files = {"README.md": CARD.encode(), "model.safetensors": b"w", ".eval_results/hle.yaml": b"[]"}
    hub.repo(MODEL).add_files(files)
    return hub.repo(MODEL)


def test_a_model_gets_one_commit_and_the_same_figures_none(hub: LoopbackHub, model: Any) -> None:
    assert run(hub) == dict.fromkeys(PLACES, f"{hub.endpoint}/{MODEL}")
    (entry,) = yaml.safe_load(model.read(".eval_results/llmcourse-openllm.yaml"))
    assert entry == {
        "dataset": {"id": "openai/gsm8k", "task_id": "gsm8k"},
        "value": 41.23,
        "source": {"url": "https://x", "name": "llmcourse"},
        "notes": "5-shot, exact_match,strict-match, lm-eval 0.4.13, gsm8k of openllm@1",
    }
    assert len(head(model.read("README.md").decode())["model-index"][0]["results"]) == 2
    assert model.read(".eval_results/hle.yaml") == b"[]"
    commits = model.commits()
    assert commits[0].title == "Add results of openllm evaluated by llmcourse"
    assert run(hub) == dict.fromkeys(PLACES, f"{hub.endpoint}/{MODEL}")
    assert model.commits() == commits


def test_a_group_of_lm_eval_is_registered_where_its_data_set_is_a_benchmark(
    hub: LoopbackHub, model: Any
) -> None:
    """mmlu as a whole, and of gpqa the part that the benchmark asks for."""
    tasks = [{"id": "diamond", "config": "gpqa_diamond"}, {"id": "more", "config": "other"}]
    hub.repo("Idavidrein/gpqa", "dataset").add_files({"eval.yaml": yaml.safe_dump({"tasks": tasks}).encode()})
    hub.repo("cais/mmlu", "dataset").add_files({"eval.yaml": b"tasks: [{id: mmlu}]"})
    assert run_client(hub, put_groups, MODEL)["eval_results"] == f"{hub.endpoint}/{MODEL}"
    entries = yaml.safe_load(model.read(".eval_results/llmcourse-groups.yaml"))
    assert [(entry["dataset"]["id"], entry["dataset"]["task_id"], entry["value"]) for entry in entries] == [
        ("cais/mmlu", "mmlu", 40.0), ("Idavidrein/gpqa", "diamond", 30.0),
    ]  # fmt: skip


def put_groups(repo: str) -> Any:
    """What the client process does: results as lm-eval gives them for groups."""
    from llmcourse.autoeval.publishing import hub as publishing
    from llmcourse.autoeval.results import TaskResult
    from llmcourse.autoeval.suite import Group, Suite, Task
    from llmcourse.core import hub

    parts = tuple(
        TaskResult(
            repo, name, "1", 0, {"acc_norm,none": value}, dataset="Idavidrein/gpqa", dataset_config=name
        )
        for name, value in (("gpqa_diamond", 0.3), ("gpqa_main", 0.2))
    )
    gpqa = TaskResult(repo, "gpqa", metrics={"acc_norm,none": 0.25}, dataset="Idavidrein/gpqa", parts=parts)
    mmlu = TaskResult(repo, "mmlu", metrics={"acc,none": 0.4}, dataset="cais/mmlu")
    names = ("mmlu", "gpqa")
    chosen = Suite(name="groups", groups=[Group(name=name, tasks=[Task(name=name)]) for name in names])
    place = hub.editable(repo, None, False, "publish.hub")
    return publishing.put(place, chosen, {"mmlu": mmlu, "gpqa": gpqa}, "https://x", "lm-eval 0.4.13")


def test_a_stranger_opens_one_pull_request_and_goes_on_with_it(hub: LoopbackHub, model: Any) -> None:
    made = run(hub, "bob", as_pull_request=True)
    assert made == dict.fromkeys(PLACES, f"{hub.endpoint}/{MODEL}/discussions/1")
    assert run(hub, "bob", as_pull_request=True) == made
    proposed = model.files("refs/pr/1")
    assert ".eval_results/llmcourse-openllm.yaml" in proposed and len(model.commits("refs/pr/1")) == 3
    assert ".eval_results/llmcourse-openllm.yaml" not in model.files()
    assert len(model._repo().settings.discussions) == 1


def test_somebody_elses_commit_meanwhile_is_kept(hub: LoopbackHub, model: Any) -> None:
    hub.faults.append(Fault("POST", r"/api/models/.*/commit/", status=412, body="{}"))
    hub.faults.append(Fault("POST", r"/api/models/.*/commit/", apply_then_drop=True, skip=1))
    assert run(hub) == dict.fromkeys(PLACES, f"{hub.endpoint}/{MODEL}")
    assert len(model.commits()) == 3  # the Hub's own, the model's, ours


def test_a_model_that_changed_since_is_not_told_figures_of_another(hub: LoopbackHub, model: Any) -> None:
    old = model.commits()[0].oid
    model.add_files({"README.md": b"---\n---\nbetter text"})
    assert run(hub, revision=old) == dict.fromkeys(PLACES, f"{hub.endpoint}/{MODEL}")
    model.add_files({"model.safetensors": b"other weights"})
    refused = run(hub, revision=old)
    assert refused["exit"] == 4 and "another model than main" in refused["what"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "as_pull_request", "sentence"),
    [("bob", False, "may not write to alice"), ("reader", False, "may only read"),
     ("reader", True, "may only read"), ("expired", False, "refused your token")],
)  # fmt: skip
def test_a_token_that_may_not_is_told_so(
    hub: LoopbackHub, model: Any, user: str, as_pull_request: bool, sentence: str
) -> None:
    refused = run(hub, user, as_pull_request)
    assert refused["exit"] == 4 and sentence in refused["what"]
    assert "hf_" not in json.dumps(refused)


def test_a_card_that_the_hub_refuses_is_said_to_be_the_cause(hub: LoopbackHub, model: Any) -> None:
    model.add_files({"README.md": b"---\nbase_model: ''\n---\n"})
    refused = run(hub)
    assert (
        refused["exit"] == 6 and "base_model" in refused["what"] and "card of alice/tiny" in refused["what"]
    )
    assert isinstance(next(figures(SUITE, RESULTS)), Figure)
