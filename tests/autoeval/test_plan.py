"""The plan: what it decides from metadata, and what it refuses before anything is loaded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmcourse.autoeval.plan import questions
from llmcourse.core.errors import ConfigError, LibraryError, Problems
from llmcourse.core.plan import Facts, FileFacts
from tests.autoeval.builders import INSTALLED, config, model, plan_of, said
from tests.planner_facts import LAPTOP, WITH_GPU

TINY = "model: org/tiny\nsuite: tiny\n"
KNOWN: dict[str, Any] = {
    "kind": "task",
    "folder": "",
    "members": [],
    "metrics": ["acc", "acc_norm"],
    "filters": ["none"],
    "fewshot": None,
}


def test_a_usual_config_is_fine() -> None:
    plan = plan_of(TINY)
    assert said(plan) == [] and plan.exit_code == 0
    assert plan.pieces[:2] == ("org__tiny|tiny_continuation", "org__tiny|tiny_word")
    assert dict(plan.summary)["suite"] == "tiny@1 (2 tasks in 2 groups)"


def test_nothing_that_is_published_names_a_folder_of_this_machine(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    found = model(ref=replace(model().ref, path=str(folder), is_local=True), hub_id=None, revision=None)
    plan = plan_of(f"model: {folder}\nsuite: tiny\n", models={str(folder): found})
    assert str(tmp_path) not in str(plan.settings)
    assert plan.settings["models"] == [{"name": "mine", "backend": "hf"}]


def test_two_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    places = [tmp_path / "a" / "m", tmp_path / "b" / "m"]
    models = {}
    for place in places:
        place.mkdir(parents=True)
        models[str(place)] = model(ref=replace(model().ref, path=str(place), is_local=True), hub_id=None)
    plan = plan_of(f"model: [{places[0]}, {places[1]}]\nsuite: tiny\n", models=models)
    assert [found["name"] for found in plan.settings["models"]] == ["m", "m-2"]


def at(*places: Path | str) -> list[str]:
    """The names in the result of models in these folders, or of the Hub."""
    models = {
        str(place): model(ref=replace(model().ref, path=str(place), is_local=True), hub_id=None)
        for place in places
        if isinstance(place, Path)
    }
    for folder in models:
        Path(folder).mkdir(parents=True)
    plan = plan_of(f"model: [{', '.join(map(str, places))}]\nsuite: tiny\n", models=models)
    assert len(plan.pieces) == 2 * len(places) + 1
    return [found["name"] for found in plan.settings["models"]]


def test_a_number_that_tells_models_apart_may_itself_be_taken(tmp_path: Path) -> None:
    assert at(tmp_path / "a" / "m", tmp_path / "b" / "m", tmp_path / "m-2") == ["m", "m-2", "m-2-2"]


def test_names_that_are_one_file_are_told_apart_and_the_hub_s_stay(tmp_path: Path) -> None:
    assert at(tmp_path / "org__tiny", "org/tiny") == ["org__tiny-2", "org/tiny"]
    assert at(tmp_path / "x" / "Model", tmp_path / "y" / "model") == ["Model", "model-2"]


def test_another_gguf_file_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    text = f"model: {path}\nsuite: tiny\n"
    one, other = (plan_of(text, files={str(path): FileFacts(9, letter * 64)}).settings for letter in "ab")
    assert one["gguf"] == {"m.gguf": "a" * 64} and one != other


@pytest.mark.parametrize("size", ["0", "-5", "banana", "true", "1.5"])
def test_a_batch_that_is_none_is_refused_once(size: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(TINY + f"runtime: {{batch_size: {size}}}\n")
    assert not isinstance(caught.value, Problems) and "batch_size cannot be" in caught.value.what


def test_batches_are_lm_eval_s_on_a_gpu_and_small_on_a_cpu() -> None:
    assert plan_of(TINY).settings["batch_size"] == 4
    assert plan_of(TINY, machine=WITH_GPU).settings["batch_size"] == "auto"
    assert plan_of(TINY + "runtime: {batch_size: 7}\n").settings["batch_size"] == 7


def test_a_model_that_no_gpu_holds_is_spread_over_all() -> None:
    two = replace(WITH_GPU, gpus=WITH_GPU.gpus * 2)
    large = model(files=dict(model().files) | {"model.safetensors": 40_000_000_000})
    assert plan_of(TINY, machine=two).settings["parallelize"] is False
    assert plan_of(TINY, machine=two, models={"org/tiny": large}).settings["parallelize"] is True


@pytest.mark.parametrize(
    ("quantization", "backend"), [(None, "hf"), ("gptq", "gptq"), ("awq", "gptq"), ("bitsandbytes", "hf")]
)
def test_what_runs_a_model_follows_from_its_files(quantization: str | None, backend: str) -> None:
    stated = {"quantization_config": {"quant_method": quantization}} if quantization else {}
    found = model(config=dict(model().config) | stated)
    plan = plan_of(TINY, models={"org/tiny": found})
    assert said(plan) == [] and plan.settings["models"][0]["backend"] == backend


def test_a_gguf_file_is_run_by_llama_cpp(tmp_path: Path) -> None:
    path = tmp_path / "m.Q4_0.gguf"
    path.write_bytes(b"GGUF")
    plan = plan_of(f"model: {path}\nsuite: tiny\n", models={})
    assert said(plan) == []
    assert plan.settings["models"] == [{"name": "m.Q4_0.gguf", "backend": "gguf"}]
    assert plan.settings["versions"] == {"lm-eval": "0.4.13", "llama_cpp": "0.3.36"}
    missing = {name: version for name, version in INSTALLED.items() if name != "llama_cpp"}
    refused = plan_of(f"model: {path}\nsuite: tiny\n", models={}, present=missing)
    assert refused.exit_code == 3 and "pip install 'llmcourse[gguf]'" in said(refused)[0]


def test_a_folder_s_only_gguf_file_is_meant_and_of_several_one_is_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "m.Q4_0.gguf").write_bytes(b"GGUF")
    assert list(config(f"model: {tmp_path}\nsuite: tiny\n").gguf_files().values()) == [
        tmp_path / "m.Q4_0.gguf"
    ]
    (tmp_path / "m.Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="holds 2 GGUF files") as caught:
        config(f"model: {tmp_path}\nsuite: tiny\n")
    assert "m.Q4_0.gguf" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "model: org/tiny\nsuite: nouse\n",
            "suite: There is no suite 'nouse'. Did you mean nous? Use eq-bench, leaderboard, nous",
        ),
        (TINY + "runtime: {device: cuda}\n", "device: There is no CUDA device"),
        (TINY + "runtime: {backend: gguf}\n", "runtime.backend: org/tiny is no GGUF file"),
        (TINY + "runtime: {backend: vllm}\n", "vllm: org/tiny is run by vllm, which is not installed."),
    ],
)
def test_what_cannot_work_is_refused(text: str, told: str) -> None:
    assert any(line.startswith(told) for line in said(plan_of(text)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"is_adapter": True}, "org/tiny: org/tiny is a LoRA adapter. Merge it"),
        (
            {"is_pickled": True, "weight_files": ("pytorch_model.bin",)},
            "org/tiny: org/tiny has pickled weights",
        ),
        ({"files": {"model.safetensors": 10, "config.json": 10}}, "org/tiny: org/tiny has no tokenizer"),
        (
            {"config": {"quantization_config": {"quant_method": "exl2"}}},
            "org/tiny: org/tiny is quantized to EXL2",
        ),
    ],
)
def test_a_model_that_lm_eval_cannot_run_is_refused(changes: dict[str, Any], told: str) -> None:
    if "weight_files" in changes:
        changes["files"] = {"pytorch_model.bin": 10, "tokenizer.json": 1}
    plan = plan_of(TINY, models={"org/tiny": model(**changes)})
    assert any(line.startswith(told) for line in said(plan))


@pytest.mark.parametrize(
    ("entry", "task", "told"),
    [
        (None, "{name: arc_eazy}", "arc_eazy: lm-eval has no task 'arc_eazy'. Did you mean arc_easy?"),
        (
            KNOWN | {"kind": "tag", "members": ["arc_easy"]},
            "{name: ai2_arc}",
            "ai2_arc: ai2_arc is a tag of 1",
        ),
        (KNOWN | {"fewshot": 0}, "{name: a, fewshot: 5}", "a: a has no examples in its prompt"),
        (KNOWN, "{name: a, metric: f1}", "a: a reports no f1. It has acc, acc_norm: name one as its metric."),
        (
            KNOWN,
            "{name: a, metric: 'acc,strict-match'}",
            "a: a has no filter strict-match. It has no filters: name the metric alone.",
        ),
    ],
)
def test_a_task_that_lm_eval_cannot_do_so_is_refused(entry: object, task: str, told: str) -> None:
    name = task.split("name: ")[1].rstrip("}").partition(",")[0]
    answers = {"tasks": {name: entry}, "near": {"arc_eazy": ["arc_easy"]}}
    plan = plan_of(f"model: org/tiny\ntasks: [{task}]\n", answers=answers)
    assert plan.exit_code == 2 and any(line.startswith(told) for line in said(plan))


def test_a_filter_that_a_task_has_is_fine() -> None:
    entry = KNOWN | {"metrics": ["exact_match"], "filters": ["strict-match", "flexible-extract"]}
    text = "model: org/tiny\ntasks: [{name: a, metric: 'exact_match,none'}]\n"
    (line,) = said(plan_of(text, answers={"tasks": {"a": entry}, "near": {}}))
    assert line.endswith(
        "no filter none. It has strict-match, flexible-extract: name one of them after the comma."
    )
    for metric in ("exact_match,strict-match", "exact_match", "'*'"):
        text = f"model: org/tiny\ntasks: [{{name: a, metric: '{metric.strip(chr(39))}'}}]\n"
        assert said(plan_of(text, answers={"tasks": {"a": entry}, "near": {}})) == []


RENTED = "model: org/tiny\nsuite: tiny\nengine: runpod\n"


def test_tasks_are_asked_for_wherever_lm_eval_is_also_where_a_pod_evaluates() -> None:
    wish = config(RENTED)
    here = Facts(LAPTOP, {}, present=INSTALLED)
    asked = questions(wish, here)
    assert asked is not None and asked["tasks"] == ["tiny_continuation", "tiny_word"]
    # Answers are kept by the question, so those of another lm-eval are another one.
    assert asked != questions(wish, replace(here, present=INSTALLED | {"lm_eval": "0.5"}))
    assert questions(wish, replace(here, present={})) is None
    assert said(plan_of(RENTED), "warn") == []
    assert "lm-eval is not on this machine" in said(plan_of(RENTED, present={}), "warn")[0]


def test_a_trial_is_published_nowhere() -> None:
    for wishes in ("{hub: true}", "{gist: private}", "{leaderboard: me/board}"):
        plan = plan_of(TINY + f"runtime: {{limit: 10}}\npublish: {wishes}\n")
        assert any("its figures are no results" in line for line in said(plan)), wishes


def test_lm_eval_s_own_failure_is_told() -> None:
    plan = plan_of(TINY, answers=LibraryError("lm-eval cannot be loaded.", "Install it again."))
    assert said(plan) == ["lm-eval: lm-eval cannot be loaded. Install it again."] and plan.exit_code == 5


def test_a_trial_is_told_to_be_one() -> None:
    assert "a trial" in said(plan_of(TINY + "runtime: {limit: 10}\n"), "warn")[0]


def test_other_references_are_another_report_and_no_other_result() -> None:
    first = plan_of(TINY + "reference: [/nowhere/a]\n", files={"/nowhere/a": FileFacts(1, "a" * 64)})
    second = plan_of(TINY + "reference: [/nowhere/a]\n", files={"/nowhere/a": FileFacts(1, "b" * 64)})
    assert first.settings == second.settings and first.pieces[:-1] == second.pieces[:-1]
    assert first.pieces[-1] != second.pieces[-1]


@pytest.mark.parametrize("text", ["model: org/tiny\n", "model: org/tiny\nsuite: tiny\ntasks: [arc_easy]\n"])
def test_a_suite_or_tasks_and_not_both(text: str) -> None:
    with pytest.raises((ConfigError, Problems), match="either suite or tasks"):
        config(text)


def test_memory_is_that_of_the_largest_model() -> None:
    large = model("org/large", files=dict(model().files) | {"model.safetensors": 5_000_000_000})
    plan = plan_of("model: [org/tiny, org/large]\nsuite: tiny\n", models={"org/large": large})
    assert plan.estimate.memory > 5_000_000_000 and plan.estimate.vram == 0
    assert LAPTOP.memory_bytes < plan.estimate.memory + 2_000_000_000
