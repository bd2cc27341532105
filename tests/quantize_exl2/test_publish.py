"""Where each result is published, with a STAND-IN for the converter and a Hub on this machine."""

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.plugin import Cli, as_user
from tests.quantize_exl2.builders import begun, wait_for

REPO = "alice/tiny-exl2"
OF_A_RESULT = {"README.md", "config.json", "llmcourse.json", "output.safetensors", "tokenizer.json"}
OF_MAIN = {"README.md", "llmcourse.json", "measurement.json"}


def names(hub: LoopbackHub, repo: str = REPO, revision: str = "main") -> set[str]:
    return set(hub.repo(repo).files(revision)) - {".gitattributes"}


def files_of_branch(hub: LoopbackHub, name: str) -> set[str]:
    """What a branch holds, nothing where there is none yet."""
    return names(hub, revision=name) if name in hub.repo(REPO).branches() else set()


def titles(hub: LoopbackHub, repo: str = REPO, revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.repo(repo).commits(revision) if "llmcourse" in commit.title]


def is_hidden(hub: LoopbackHub, repo: str) -> bool:
    """Whether those who are not logged in are told that there is no such repository."""
    try:
        urlopen(f"{hub.endpoint}/api/models/{repo}").close()
    except HTTPError as error:
        error.close()
        return error.code == 401
    return False


def test_a_branch_for_each_width_and_the_card_on_main(tmp_path: Path, hub: LoopbackHub) -> None:
    program = begun(tmp_path).logged_in(hub)
    ended = program(push=REPO)
    assert ended.exit_code == 0, ended.stderr
    assert names(hub) == OF_MAIN
    repo = hub.repo(REPO)
    for name in ("3.0bpw", "4.25bpw"):
        assert names(hub, revision=name) >= OF_A_RESULT
        entry = repo.files(name)["output.safetensors"]
        listed = {file["path"]: file["sha256"] for file in ended.document["files"]}
        assert entry.sha256 == listed[f"{name}/output.safetensors"]
        place = ended.document["places"][name]
        assert (place["revision"], place["commit"]) == (name, repo.commits(name)[0].oid)
        manifest = json.loads(repo.read("llmcourse.json", name))
        assert {file["path"] for file in manifest["files"]} <= names(hub, revision=name)
        assert f"--revision {name}" in repo.read("README.md", name).decode()
    card = repo.read("README.md").decode()
    assert f"https://huggingface.co/{REPO}/tree/4.25bpw" in card and "measurement.json" in card
    assert ended.document["reference"].startswith(f"hf://{REPO}@")


def test_the_same_again_is_no_commit_and_one_more_width_leaves_the_others(
    tmp_path: Path, hub: LoopbackHub
) -> None:
    program = begun(tmp_path, [3.0]).logged_in(hub)
    assert program(push=REPO).exit_code == 0
    before = (titles(hub), titles(hub, revision="3.0bpw"))
    again = program(push=REPO)
    assert again.exit_code == 0 and (titles(hub), titles(hub, revision="3.0bpw")) == before, again.stderr
    more = program("e.yaml", "bits_per_weight=[3.0, 5.0]", push=REPO)
    assert more.exit_code == 0, more.stderr
    assert titles(hub, revision="3.0bpw") == before[1]
    assert "output.safetensors" in names(hub, revision="5.0bpw") and names(hub) == OF_MAIN
    # One that is not asked for any more stays where it is.
    other = program("e.yaml", "bits_per_weight=[5.0]", push=REPO)
    assert other.exit_code == 0 and names(hub) == OF_MAIN, other.stderr
    assert set(other.document["places"]) == {"3.0bpw", "5.0bpw"}


def test_a_single_width_is_what_the_next_command_reads(tmp_path: Path, hub: LoopbackHub) -> None:
    ended = begun(tmp_path, [4.25]).logged_in(hub)(push=REPO)
    commit = hub.repo(REPO).commits("4.25bpw")[0].oid
    assert ended.document["reference"] == f"hf://{REPO}@{commit}"


def test_a_repository_for_each_width(tmp_path: Path, hub: LoopbackHub) -> None:
    program = begun(tmp_path).logged_in(hub)
    ended = program("e.yaml", f"hub={{repo: {REPO}, layout: repos, private: true}}")
    assert ended.exit_code == 0, ended.stderr
    assert names(hub) == OF_MAIN
    for bits in ("3.0", "4.25"):
        name = f"alice/tiny-{bits}bpw-exl2"
        assert names(hub, name) == OF_A_RESULT
        assert is_hidden(hub, name)
        card = hub.repo(name).read("README.md").decode()
        assert f"# tiny-{bits}bpw-exl2" in card and f"https://huggingface.co/{REPO}" in card
    assert "https://huggingface.co/alice/tiny-3.0bpw-exl2)" in hub.repo(REPO).read("README.md").decode()


def test_a_width_is_published_while_the_next_is_made(tmp_path: Path, hub: LoopbackHub) -> None:
    program = begun(tmp_path, more_seconds_at={"4.25": 30}).logged_in(hub)
    process = program.start(push=REPO)
    repo = hub.repo(REPO)
    try:
        wait_for(lambda: repo.exists() and files_of_branch(hub, "3.0bpw") >= OF_A_RESULT, 100)
        assert process.poll() is None and not files_of_branch(hub, "4.25bpw")
        assert "measurement.json" in names(hub)
    finally:
        process.kill()
        process.communicate()


def test_a_measurement_is_published_though_no_width_could_be_made(tmp_path: Path, hub: LoopbackHub) -> None:
    ended = begun(tmp_path, fails="Compiling").logged_in(hub)(push=REPO)
    assert ended.exit_code == 5 and names(hub) == OF_MAIN


def test_a_branch_of_somebody_else_is_seen_before_anything_is_made(tmp_path: Path, hub: LoopbackHub) -> None:
    files: dict[str, Any] = {"model.safetensors": b"somebody's", "config.json": b"{}"}
    hub.repo(REPO).add_files({"README.md": b"mine"})
    hub.repo(REPO).add_files(files, revision="4.25bpw")
    program = begun(tmp_path).logged_in(hub)
    ended = program(push=REPO)
    assert ended.exit_code == 4 and f"{REPO}@4.25bpw holds another model already" in ended.sentences
    assert not (tmp_path / "calls").exists()
    forced = program(push=REPO, force=True)
    assert forced.exit_code == 0, forced.stderr
    assert "output.safetensors" in names(hub, revision="4.25bpw")
    assert "model.safetensors" not in names(hub, revision="4.25bpw")


def test_a_push_that_fails_is_done_by_the_same_command(tmp_path: Path, hub: LoopbackHub) -> None:
    program = begun(tmp_path, [3.0]).logged_in(hub)
    hub.faults.append(Fault(method="POST", path="/commit/", times=None, status=403))
    ended = program(push=REPO)
    assert ended.exit_code == 6 and (tmp_path / "out" / "3.0bpw").is_dir()
    hub.clear_faults()
    again = program(push=REPO)
    assert again.exit_code == 0, again.stderr
    assert names(hub, revision="3.0bpw") >= OF_A_RESULT and len(program.calls) == 2


def test_the_model_on_the_hub_is_never_pushed_into(llmcourse: Cli, hub: LoopbackHub, tmp_path: Path) -> None:
    """Through the real program, which refuses for want of a GPU too."""
    begun(tmp_path / "made")
    hub.repo("alice/tiny").add_files({path.name: path for path in (tmp_path / "made" / "llama").iterdir()})
    (llmcourse.folder / "e.yaml").write_text("{model: alice/tiny, bits_per_weight: 4}")
    result = as_user(llmcourse, hub)("quantize-exl2", "e.yaml", "--push", "alice/tiny", "-n", "-o", "out")
    assert result.exit_code == 4 and "is a model that this is made from" in result.stdout
