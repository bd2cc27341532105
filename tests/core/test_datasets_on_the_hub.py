"""A result published to a data set repository: the same push, the same checks, another kind of place."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmcourse.testing.hub import Fault, LoopbackHub, Scope
from llmcourse.testing.hub.client import run_client

REPO = "alice/figures"


def publish(folder: str, names: list[str], wish: dict[str, Any], force: bool = False) -> Any:
    """Push what is in a folder; in a process of its own, as the client reads its endpoint when imported."""
    from llmcourse.core import hub
    from llmcourse.core.artifact import MANIFEST_NAME, Artifact, OutputFile
    from llmcourse.core.checks import push_check
    from llmcourse.core.config import HubTarget
    from llmcourse.core.errors import LlmcourseError
    from llmcourse.core.progress import Progress
    from llmcourse.core.workspace import save_artifact

    place = Path(folder)
    files = tuple(OutputFile.of(place, name) for name in names)
    fingerprint = str(sorted((file.path, file.sha256) for file in files))
    made = Artifact("autoeval", folder, fingerprint, files, {}, {}, {})
    save_artifact(place, made)
    sent = Artifact(
        "autoeval", folder, fingerprint, (*files, OutputFile.of(place, MANIFEST_NAME)), {}, {}, {}
    )
    try:
        target = hub.read_target(HubTarget(**wish), "dataset")
        check = push_check(target, fingerprint, force, ["alice/figures"])
        if check.status == "fail":
            raise check.error()
        location = hub.push(place, sent, target, Progress(lambda event: None))
    except LlmcourseError as error:
        return {"exit": error.exit_code, "what": error.what, "fix": error.fix}
    return {"reference": location.reference, "url": location.url, "check": check.status}


def push(hub: LoopbackHub, folder: Path, contents: Mapping[str, str], **options: Any) -> Any:
    for name, text in contents.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    force, user = options.pop("force", False), options.pop("user", "alice")
    wish = {"repo": REPO, **options}
    return run_client(hub, publish, folder, list(contents), wish, force, user=user)


RESULT = {"README.md": "---\nbase_model: ''\n---\n", "tasks/arc.json": "{}"}


def test_a_result_becomes_one_commit_of_a_data_set_and_names_it(
    hub: LoopbackHub, tmp_path: Path, transport: str
) -> None:
    contents = {**RESULT, "samples.jsonl": "x" * 11_000_000}
    said = push(hub, tmp_path / "out", contents, private=True)
    repo = hub.repo(REPO, "dataset")
    assert said["reference"] == f"hf://datasets/{REPO}@{repo.commits()[0].oid}"
    assert said["url"] == f"{hub.endpoint}/datasets/{REPO}"
    assert [commit.title for commit in repo.commits()] == ["Add autoeval made by llmcourse", "initial commit"]
    assert {"llmcourse.json", *contents} < set(repo.files())
    assert not hub.repo(REPO).exists()
    assert repo._repo().settings.is_private


def test_the_same_result_is_no_second_commit(hub: LoopbackHub, tmp_path: Path) -> None:
    first = push(hub, tmp_path / "out", RESULT, revision="pod-1")
    second = push(hub, tmp_path / "out", RESULT, revision="pod-1")
    assert second == first
    assert len(hub.repo(REPO, "dataset").commits("pod-1")) == 2
    assert len(hub.repo(REPO, "dataset").commits()) == 1


def test_another_result_needs_force_and_then_takes_the_place_of_the_first(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    push(hub, tmp_path / "a", {**RESULT, "tasks/gone.json": "{}"})
    hub.repo(REPO, "dataset").add_files({"lease.json": b"{}"})
    other = {**RESULT, "tasks/arc.json": "{1}"}
    refused = push(hub, tmp_path / "b", other)
    assert (
        refused["exit"] == 4 and "holds another data set" in refused["what"] and "--force" in refused["fix"]
    )
    assert push(hub, tmp_path / "b", other, force=True)["check"] == "warn"
    files = hub.repo(REPO, "dataset").files()
    assert "tasks/gone.json" not in files and "lease.json" in files


def test_rows_of_somebody_are_not_replaced(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repo(REPO, "dataset").add_files({"data/train-00000-of-00001.parquet": b"PAR1"})
    assert push(hub, tmp_path / "out", RESULT)["what"] == f"{REPO}@main holds another data set already."


def test_a_model_of_the_same_name_is_another_place(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repo(REPO).add_files({"model.safetensors": b"weights"})
    assert push(hub, tmp_path / "out", RESULT)["check"] == "ok"
    assert set(hub.repo(REPO).files()) == {".gitattributes", "model.safetensors"}


@pytest.mark.slow
def test_a_lost_answer_makes_no_second_commit(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults.append(Fault("POST", r"/api/datasets/.*/commit/", apply_then_drop=True))
    push(hub, tmp_path / "out", RESULT)
    assert len(hub.repo(REPO, "dataset").commits()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("user", "wish", "sentence"),
    [
        ("reader", {}, "may only read"),
        ("bob", {}, "may not write to alice"),
        ("fine", {}, "no write permission"),
        ("dataset-only", {"repo": "alice/other"}, "no write permission"),
    ],
)
def test_a_token_that_may_not_write_is_found_before(
    hub: LoopbackHub, tmp_path: Path, user: str, wish: dict[str, str], sentence: str
) -> None:
    writes = ("repo.content.read", "repo.write")
    hub.add_token("dataset-only", "alice", "fineGrained", (Scope("dataset", REPO, writes),))
    hub.repo(REPO, "dataset").add_files({"a": b""})
    refused = push(hub, tmp_path / "out", RESULT, user=user, **wish)
    assert refused["exit"] == 4 and sentence in refused["what"]
    assert json.dumps(refused).count("hf_") == 0


@pytest.mark.slow
def test_a_token_for_one_data_set_is_enough_for_it(hub: LoopbackHub, tmp_path: Path) -> None:
    writes = ("repo.content.read", "repo.write")
    hub.add_token("dataset-only", "alice", "fineGrained", (Scope("dataset", REPO, writes),))
    hub.repo(REPO, "dataset").add_files({"a": b""})
    assert push(hub, tmp_path / "out", RESULT, user="dataset-only")["check"] == "ok"


def test_a_card_of_a_data_set_is_not_held_to_what_models_need(hub: LoopbackHub, tmp_path: Path) -> None:
    assert push(hub, tmp_path / "out", RESULT)["check"] == "ok"
    model = {"README.md": RESULT["README.md"]}
    hub.repo("alice/model").add_files({"a": b""})
    assert "base_model" in run_client(hub, commit_card, model["README.md"])


def commit_card(text: str) -> Any:
    try:
        HfApi().create_commit(  # type: ignore[name-defined]  # noqa: F821
            "alice/model",
            [CommitOperationAdd("README.md", text.encode())],  # type: ignore[name-defined]  # noqa: F821
            commit_message="card",
        )
    except ValueError as error:
        return str(error)
    return ""
