"""Publishing while working: each type is a commit as soon as it is made, and nothing of it is dropped."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.models import Family
from llmcourse.testing.plugin import Cli
from tests.quantize_gguf.builders import (
    digests,
    logged_in,
    merge_manifest,
    program,
    start_converted,
    steps,
    wait_for,
    whole,
    write_config,
)

REPO = "alice/tiny-GGUF"
RUN = ("quantize-gguf", "g.yaml", "-o", "out")
PUSH = (*RUN, "--push", REPO)


@pytest.fixture
def alice(llmcourse: Cli, tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub, family: Family) -> Cli:
    """The program logged in, in a folder where g.yaml has been begun: the model is converted already."""
    cli = program(llmcourse, tmp_path_factory)
    start_converted(tmp_path_factory, cli, family)
    return logged_in(cli, hub)


def titles(hub: LoopbackHub, repo: str = REPO) -> list[str]:
    """The commits, oldest first, without the Hub's own."""
    return [commit.title for commit in hub.repo(repo).commits()][-2::-1]


def on_hub(hub: LoopbackHub, repo: str = REPO) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in hub.repo(repo).files().items() if name.endswith(".gguf")}


def test_each_type_is_a_commit_with_a_card(alice: Cli, hub: LoopbackHub, transport: str) -> None:
    result = logged_in(alice, hub, transport=transport)(*PUSH, "--json")
    assert result.exit_code == 0, result.stderr
    *types, last = titles(hub)
    assert sorted(types) == ["Add Q4_K_M made by llmcourse", "Add Q8_0 made by llmcourse"]
    assert last == "Add quantize-gguf made by llmcourse"
    assert on_hub(hub) == digests(result.json["files"])
    repo = hub.repo(REPO)
    head = repo.commits()[0].oid
    assert result.json["reference"] == f"hf://{REPO}@{head}" and result.json["hub"]["commit"] == head
    assert {"README.md", "llmcourse.json"} < set(repo.files())
    for commit in repo.commits()[:-1]:  # at no time does the manifest name a file that is not there
        tree = repo.files(commit.oid)
        listed = json.loads(repo.read("llmcourse.json", commit.oid))["files"]
        assert {file["path"] for file in listed if file["path"].endswith(".gguf")} <= set(tree)
        text = repo.read("README.md", commit.oid).decode()
        assert ModelCard(text).data.to_dict()["library_name"] == "gguf"  # type: ignore[no-untyped-call]
        assert ("Being completed" in text) == (commit.oid != head)
        assert all(f"({path})" in text for path in tree if path.endswith(".gguf"))


@pytest.mark.slow
def test_no_type_and_no_shard_is_dropped_on_the_way(alice: Cli, hub: LoopbackHub, family: Family) -> None:
    """The patterns of others let Q3_K_S, Q5_1, IQ4_XS and second shards fall."""
    types = ["Q3_K_S", "Q5_1", "IQ4_XS", "Q4_0", "F16"]
    write_config(alice.folder, "s.yaml", model=str(family.base), types=types, split="2M")
    result = alice("quantize-gguf", "s.yaml", "-o", "out", "--push", REPO, "--json")
    assert result.exit_code == 0, result.stderr
    made = digests(result.json["files"])
    assert {name.split(".")[1].partition("-")[0] for name in made} == set(types)
    assert sum("-of-" in name for name in made) > 4
    assert on_hub(hub) == made
    assert made == {path.name: made[path.name] for path in (alice.folder / "out").glob("*.gguf")}


@pytest.mark.slow
def test_a_result_made_before_is_published_later_as_it_is_and_once(alice: Cli, hub: LoopbackHub) -> None:
    made = alice(*RUN, "--json").json
    pushed = alice(*PUSH, "--json", "--progress", "json")
    assert pushed.exit_code == 0, pushed.stderr
    assert not [step for step in steps(pushed) if "upload" not in step]
    assert on_hub(hub) == digests(made["files"])
    count, head = len(titles(hub)), hub.repo(REPO).commits()[0].oid
    again = alice(*PUSH, "-q")
    assert (again.stdout, again.stderr) == (f"hf://{REPO}@{head}\n", "") and len(titles(hub)) == count


def test_a_repository_in_the_config_is_as_good_as_the_option(alice: Cli, hub: LoopbackHub) -> None:
    made = alice(*RUN, "types=[Q8_0]", "--json").json
    pushed = alice(*RUN, "types=[Q8_0]", f"hub.repo={REPO}", "hub.private=true", "--json")
    assert pushed.exit_code == 0, pushed.stderr
    assert digests(pushed.json["files"]) == digests(made["files"]) == on_hub(hub)


def test_a_slow_hub_does_not_hold_up_the_next_type(alice: Cli, hub: LoopbackHub) -> None:
    hub.faults.append(Fault(method="PUT|POST", path="/lfs/", times=1, sleep_s=6))
    process = alice.start(*PUSH)
    made = alice.folder / ".out.llmcourse" / "files"
    wait_for(lambda: len(list(made.glob("*.gguf"))) == 2, process)
    assert process.poll() is None
    assert not hub.repo(REPO).exists() or on_hub(hub) == {}
    process.communicate(timeout=120)
    assert process.returncode == 0 and len(on_hub(hub)) == 2


def test_without_keep_local_the_hub_has_all_and_this_machine_nothing(alice: Cli, hub: LoopbackHub) -> None:
    gone = (*PUSH, "keep_local=false", "--json")
    result = alice(*gone)
    assert result.exit_code == 0, result.stderr
    assert not list(alice.folder.rglob("*.gguf"))
    assert on_hub(hub) == digests(result.json["files"]) and len(on_hub(hub)) == 2
    assert all(file["is_local"] is False for file in result.json["files"] if file.get("piece"))
    assert (alice.folder / "out" / "README.md").read_text().count("| [base.") == 2
    count = len(titles(hub))
    again = alice(*gone, "--progress", "json")
    assert again.exit_code == 0 and again.json["cached"], again.stderr
    assert [step for step in steps(again) if "quantize" in step or "upload" in step] == []
    assert len(titles(hub)) == count


@pytest.mark.slow
def test_without_keep_local_types_can_be_added_and_measured_later(
    alice: Cli, hub: LoopbackHub, family: Family, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (alice.folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    gone = (*PUSH, "keep_local=false", "--json")
    assert alice(*gone, "types=[Q8_0]").exit_code == 0
    start_converted(tmp_path_factory, alice, family)
    more = alice(*gone)
    assert more.exit_code == 0, more.stderr
    assert len(on_hub(hub)) == 2 and not list(alice.folder.rglob("*.gguf"))
    measured = alice(*gone, "quality.text=held-out.txt", "quality.chunks=2")
    assert measured.exit_code in (0, 4), (
        measured.stderr
    )  # measured from the Hub, or a sentence that it cannot be
    assert "Traceback" not in measured.stderr and len(on_hub(hub)) == 2


@pytest.mark.slow
def test_without_keep_local_each_type_is_measured_before_it_goes(
    alice: Cli, hub: LoopbackHub, family: Family
) -> None:
    (alice.folder / "held-out.txt").write_text(family.eval_texts["prose"], encoding="utf-8")
    gone = (*PUSH, "keep_local=false", "quality.text=held-out.txt", "quality.chunks=2", "--json")
    result = alice(*gone)
    assert result.exit_code == 0, result.stderr
    assert not list(alice.folder.rglob("*.gguf"))
    assert {"quality.json", "quality.png"} < set(hub.repo(REPO).files())
    assert len(json.loads(hub.repo(REPO).read("quality.json"))["types"]) == 2
    assert titles(hub).count("Add quality made by llmcourse") <= 1
    assert not [title for title in titles(hub) if "quality " in title.removeprefix("Add quality made")], (
        titles(hub)
    )


def test_nothing_would_be_left_without_a_push(alice: Cli) -> None:
    result = alice(*RUN, "keep_local=false")
    assert result.exit_code == 2 and "Nothing would be left" in result.stderr
    assert not (alice.folder / "out").exists()


def test_files_of_others_beside_ours_stay_with_force_too(alice: Cli, hub: LoopbackHub) -> None:
    others = {"other.Q4_K_M.gguf": b"of somebody", "base.Q8_0.gguf": b"an older one", "notes.txt": b"mine"}
    hub.repo(REPO).add_files(others)
    result = alice(*PUSH, "types=[Q8_0]", "--force", "--json")
    assert result.exit_code == 0, result.stderr
    repo = hub.repo(REPO)
    assert {"other.Q4_K_M.gguf", "notes.txt"} <= set(repo.files())
    assert repo.read("other.Q4_K_M.gguf") == b"of somebody"
    assert on_hub(hub)["base.Q8_0.gguf"] == digests(result.json["files"])["base.Q8_0.gguf"]


def test_a_model_in_the_target_is_never_deleted(alice: Cli, hub: LoopbackHub, family: Family) -> None:
    hub.repo(REPO).add_files({path.name: path for path in family.base.iterdir()})
    before = {name: entry.sha256 for name, entry in hub.repo(REPO).files().items()}
    result = alice(*PUSH, "types=[Q8_0]", "--force")
    assert result.exit_code == 0, result.stderr
    after = {name: entry.sha256 for name, entry in hub.repo(REPO).files().items()}
    assert {name: after.get(name) for name in before if name != "README.md"} == {
        name: sha256 for name, sha256 in before.items() if name != "README.md"
    }


def test_a_merge_of_ours_in_the_target_is_never_deleted(alice: Cli, hub: LoopbackHub, family: Family) -> None:
    model: dict[str, bytes | Path] = {path.name: path for path in family.base.iterdir()}
    hub.repo(REPO).add_files(model | {"llmcourse.json": merge_manifest(family.base)})
    before = set(hub.repo(REPO).files())
    result = alice(*PUSH, "types=[Q8_0]", "--force")
    assert result.exit_code == 0, result.stderr
    assert before <= set(hub.repo(REPO).files())


def test_a_private_branch_of_its_own_and_no_token_anywhere(alice: Cli, hub: LoopbackHub) -> None:
    result = alice(*PUSH, "types=[Q8_0]", "--revision", "tries", "--private", "-v")
    assert result.exit_code == 0, result.stderr
    repo = hub.repo(REPO)
    assert "base.Q8_0.gguf" in repo.files("tries") and "base.Q8_0.gguf" not in repo.files()
    token = hub.tokens["alice"]
    assert token not in result.stdout + result.stderr
    out = alice.folder / "out"
    assert whole(out) and not [path for path in out.iterdir() if token.encode() in path.read_bytes()]
    stranger = logged_in(alice, hub, "bob")
    assert "There is no" in stranger("quantize-gguf", "g.yaml", f"model={REPO}", "-n").stdout
