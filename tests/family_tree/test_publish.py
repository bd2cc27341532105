"""The tree in a card on the Hub: whose card, by commit or pull request, and what is refused first."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmcourse.family_tree.markers import BEGIN, END
from llmcourse.testing.hub import Fault, LoopbackHub
from llmcourse.testing.hub.client import run_client
from llmcourse.testing.hub.handle import RepoHandle

MODEL = "alice/merged"
CARD = "---\nlicense: mit\n---\n# Merged\r\n\r\nMixed ends of lines, \ttabs and trailing blanks   \n"


@pytest.fixture
def model(hub: LoopbackHub) -> RepoHandle:
    hub.repo(MODEL).add_files({"README.md": CARD.encode(), "model.safetensors": b"w"})
    return hub.repo(MODEL)


def put(model: str, target: dict[str, Any], parents: dict[str, bool], names: list[str]) -> Any:
    """Publish as the command does; in a process of its own.

    `names`: the model's present one, then others. `parents` are private or not.
    """
    from llmcourse.core.errors import LlmcourseError
    from llmcourse.core.model import ModelRef
    from llmcourse.family_tree.config import Config
    from llmcourse.family_tree.graph import Edge, Graph, Node, Relation, State
    from llmcourse.family_tree.publish import card_place, publish

    try:
        place = card_place(Config(model=[model], hub=target))
        known, *others = names
        is_local = ModelRef.parse(known).is_local
        nodes = {known: Node(known, State.LOCAL if is_local else State.READ, names=tuple(others))}
        nodes |= {parent: Node(parent, is_private=is_private) for parent, is_private in parents.items()}
        edges = tuple(Edge(parent, known, Relation.MERGE, ("card",)) for parent in parents)
        graph = Graph((known,), nodes, edges, dict.fromkeys(nodes, 0))
        published = publish(place, graph, "licence")
        return {"url": published.url, "reference": published.reference}
    except LlmcourseError as error:
        return {"exit": error.exit_code, "what": error.what, "fix": error.fix, "where": error.where}


def run(
    hub: LoopbackHub, model: str = MODEL, parent: str = "org/one", is_private: bool = False,
    user: str | None = "alice", names: list[str] | None = None, **target: Any,
) -> Any:  # fmt: skip
    return run_client(hub, put, model, target, {parent: is_private}, names or [MODEL], user=user)


def text(model: RepoHandle, revision: str = "main") -> str:
    return model.read("README.md", revision).decode()


def test_a_card_gets_one_commit_and_the_same_tree_none(hub: LoopbackHub, model: RepoHandle) -> None:
    said = run(hub)
    assert said == {"url": f"{hub.endpoint}/{MODEL}", "reference": f"hf://{MODEL}@main"}
    assert text(model).startswith(CARD) and "org/one" in text(model)
    commits = model.commits()
    assert len(commits) == 3 and commits[0].title == "Show the family tree made by llmcourse"
    assert run(hub) == said and model.commits() == commits


def test_the_next_tree_replaces_it_and_nothing_else(hub: LoopbackHub, model: RepoHandle) -> None:
    run(hub)
    edited = text(model) + "\nWritten below it since.\n"
    model.add_files({"README.md": edited.encode()})
    run(hub, parent="org/two")
    assert text(model) == edited.replace("org/one", "org/two")
    assert set(model.files()) == {".gitattributes", "README.md", "model.safetensors"}


def test_a_model_without_a_card_gets_one(hub: LoopbackHub) -> None:
    hub.repo(MODEL).add_files({"config.json": b"{}"})
    run(hub)
    assert text(hub.repo(MODEL)).startswith(BEGIN) and text(hub.repo(MODEL)).endswith(f"{END}\n")


def test_a_stranger_proposes_it_and_goes_on_with_that_proposal(hub: LoopbackHub, model: RepoHandle) -> None:
    said = run(hub, user="bob", pull_request=True)
    assert said == {"url": f"{hub.endpoint}/{MODEL}/discussions/1", "reference": f"hf://{MODEL}@refs/pr/1"}
    assert run(hub, parent="org/two", user="bob", pull_request=True) == said
    assert text(model) == CARD
    proposed = text(model, "refs/pr/1")
    assert proposed.startswith(CARD) and "org/two" in proposed and proposed.count(BEGIN) == 1


def test_a_commit_from_a_pipe_means_the_branch_it_is_on(hub: LoopbackHub, model: RepoHandle) -> None:
    old = model.commits()[0].oid
    model.add_files({"model.safetensors": b"other weights"})
    assert run(hub, f"hf://{MODEL}@{old}")["reference"] == f"hf://{MODEL}@main"
    assert "org/one" in text(model)


def test_a_branch_has_a_card_of_its_own(hub: LoopbackHub, model: RepoHandle) -> None:
    model.add_files({"README.md": b"# 4 bits\n"}, revision="4.0bpw")
    assert run(hub, f"{MODEL}@4.0bpw")["url"] == f"{hub.endpoint}/{MODEL}/tree/4.0bpw"
    assert text(model) == CARD and text(model, "4.0bpw").startswith("# 4 bits\n")
    run(hub, MODEL, "org/two", revision="4.0bpw")
    assert text(model) == CARD and "org/two" in text(model, "4.0bpw")


def test_another_model_s_card_is_taken_by_its_name(hub: LoopbackHub, model: RepoHandle) -> None:
    hub.repo("alice/notes").add_files({"README.md": b"# Notes\n"})
    assert run(hub, repo="alice/notes")["reference"] == "hf://alice/notes@main"
    assert text(model) == CARD and "org/one" in text(hub.repo("alice/notes"))


def test_a_renamed_model_is_written_under_its_present_name(hub: LoopbackHub, model: RepoHandle) -> None:
    model.rename("alice/better")
    said = run(hub, names=["alice/better", MODEL])
    assert said["reference"] == "hf://alice/better@main"
    assert "org/one" in text(hub.repo("alice/better"))


def test_a_folder_that_was_pushed_from_here_knows_its_repository(
    hub: LoopbackHub, model: RepoHandle, tmp_path: Path
) -> None:
    folder = tmp_path / "merged"
    folder.mkdir()
    refused = run(hub, str(folder))
    assert refused["exit"] == 2 and refused["where"] == "--push"
    assert refused["what"].endswith("is a folder, and nothing says which repository of the Hub it is.")
    (folder / "llmcourse.json").write_text(json.dumps({"hub": {"repo": MODEL}}))
    assert run(hub, str(folder), names=[str(folder)])["reference"] == f"hf://{MODEL}@main"
    assert str(tmp_path) not in text(model) and f'"{MODEL}"' in text(model)


def test_a_private_parent_has_no_name_in_a_public_card(hub: LoopbackHub, model: RepoHandle) -> None:
    run(hub, parent="alice/secret", is_private=True)
    assert "secret" not in text(model) and "a private model" in text(model)
    model.set_private(True)
    run(hub, parent="alice/secret", is_private=True)
    assert "alice/secret" in text(model)


@pytest.mark.parametrize(
    ("user", "pull_request", "what"),
    [
        ("bob", False, "bob may not write to alice on the Hub."),
        ("reader", True, "Your Hub token may only read."),
        (None, False, "There is no Hub token to publish with."),
    ],
)
def test_who_may_not_is_told_before_anything_is_read(
    hub: LoopbackHub, model: RepoHandle, user: str | None, pull_request: bool, what: str
) -> None:
    refused = run(hub, user=user, pull_request=pull_request)
    assert (refused["exit"], refused["what"]) == (4, what)
    assert refused["where"] in ("push", "--push") and text(model) == CARD


def test_a_model_that_is_not_there_is_refused(hub: LoopbackHub) -> None:
    refused = run(hub, "alice/gone")
    assert refused["exit"] == 4 and refused["what"] == "There is no alice/gone on the Hub that you can see."


def test_broken_markers_are_told_and_the_card_is_left_alone(hub: LoopbackHub, model: RepoHandle) -> None:
    broken = f"# Name\n{BEGIN}\nold\n"
    model.add_files({"README.md": broken.encode()})
    refused = run(hub)
    assert refused["exit"] == 4 and "begin in line 2" in refused["what"]
    assert text(model) == broken


def test_a_head_that_is_no_yaml_is_told_before_the_walk(hub: LoopbackHub, model: RepoHandle) -> None:
    broken = "---\nlicense: mit\ntags: [a\n---\n# Name\n"
    model.add_files({"README.md": broken.encode()})
    refused = run(hub)
    assert refused["exit"] == 4 and "The head of README.md of alice/merged is no YAML (" in refused["what"]
    assert "line 4" in refused["what"] and text(model) == broken


def test_a_card_in_another_encoding_is_told_and_left_alone(hub: LoopbackHub, model: RepoHandle) -> None:
    model.add_files({"README.md": "# Größe\n".encode("latin-1")})
    refused = run(hub)
    assert refused["exit"] == 4 and refused["what"] == "README.md of alice/merged is not UTF-8 text."


def test_a_card_that_changed_meanwhile_keeps_the_change(hub: LoopbackHub, model: RepoHandle) -> None:
    hub.faults.append(Fault("POST", r"/api/models/.*/commit/", status=412, body="{}"))
    hub.faults.append(Fault("POST", r"/api/models/.*/commit/", apply_then_drop=True, skip=1))
    assert "url" in run(hub)
    assert len(model.commits()) == 3 and text(model).startswith(CARD)
