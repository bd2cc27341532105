"""Up, down and both ways, to a depth, from several roots, from folders of this machine."""

import json

import pytest

from llmcourse.family_tree.graph import State
from tests.family_tree.conftest import Seed, Walker


@pytest.fixture
def merge(seed: Seed) -> str:
    """A merge of two fine-tunes of one base, with a quantized copy."""
    seed("acme/base", license="apache-2.0")
    for name in ("acme/left", "acme/right"):
        seed(name, license="apache-2.0", base_model="acme/base")
    merged = {"base_model": ["acme/left", "acme/right"], "base_model_relation": "merge"}
    seed("acme/merge", None, license="apache-2.0", **merged)
    quantized = {"base_model": "acme/merge", "base_model_relation": "quantized"}
    seed("acme/merge-GGUF", None, license="apache-2.0", **quantized)
    return "acme/merge"


def test_ancestors_level_by_level(walk: Walker, merge: str) -> None:
    walked = walk(merge)
    assert walked.graph.roots == (merge,)
    assert walked.graph.levels == {merge: 0, "acme/left": -1, "acme/right": -1, "acme/base": -2}
    assert walked.edges == {
        ("acme/left", merge, "merge"),
        ("acme/right", merge, "merge"),
        ("acme/base", "acme/left", "finetune"),
        ("acme/base", "acme/right", "finetune"),
    }
    assert walked.graph.findings == ()
    assert walked.counts[-1] == (4, 4)


def test_descendants_level_by_level(walk: Walker, merge: str) -> None:
    walked = walk("acme/base", direction="down")
    levels = {"acme/base": 0, "acme/left": 1, "acme/right": 1, merge: 2, "acme/merge-GGUF": 3}
    assert walked.graph.levels == levels
    assert ("acme/left", merge, "merge") in walked.edges and ("acme/right", merge, "merge") in walked.edges
    assert (merge, "acme/merge-GGUF", "quantized") in walked.edges


def test_both_ways(walk: Walker, merge: str) -> None:
    levels = walk(merge, direction="both").graph.levels
    assert levels["acme/base"] == -2 and levels["acme/merge-GGUF"] == 1


def test_a_model_is_asked_for_once(walk: Walker, merge: str) -> None:
    recipe = b"models: [{model: acme/left}]\nmerge_method: linear\n"
    walk.hub.repo(merge).add_files({"mergekit_config.yml": recipe})
    walk.hub.clear_requests()
    walk(merge)
    asked = [record.path.partition("?")[0] for record in walk.hub.requests]
    assert sorted(path for path in asked if path.startswith("/api/")) == [
        f"/api/models/{name}" for name in ("acme/base", "acme/left", "acme/merge", "acme/right")
    ]
    assert len(asked) == 5 and sum(path.endswith("/mergekit_config.yml") for path in asked) == 1


def test_the_depth_of_ancestors(walk: Walker, merge: str) -> None:
    graph = walk(merge, depth=1).graph
    assert {name: node.state for name, node in graph.nodes.items()} == {
        merge: State.READ,
        "acme/left": State.READ,
        "acme/right": State.READ,
        "acme/base": State.BEYOND,
    }
    assert walk(merge, depth=2).graph.nodes["acme/base"].state is State.READ
    assert set(walk(merge, depth=0).graph.levels.values()) == {0, -1}


def test_the_depth_of_descendants(walk: Walker, merge: str) -> None:
    assert set(walk("acme/base", direction="down", depth=1).graph.levels.values()) == {0, 1}


def test_what_a_node_knows(walk: Walker, merge: str) -> None:
    handle = walk.hub.repo("acme/base")
    handle.describe(downloads=1234, likes=7, created_at="2026-01-02T03:04:05.000Z")
    node = walk(merge).graph.nodes["acme/base"]
    assert (node.licence, node.architecture) == ("apache-2.0", "llama")
    assert (node.downloads, node.likes, node.created) == (1234, 7, "2026-01-02T03:04:05.000Z")
    assert node.url.endswith("/acme/base") and node.children_count["finetune"] == 2


def test_parameters_of_safetensors_and_of_gguf(walk: Walker, seed: Seed) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}}).encode()
    seed("acme/base", {"model.safetensors": len(header).to_bytes(8, "little") + header + bytes(30)})
    seed("acme/base-GGUF", {"m.gguf": b"GGUF"}, base_model="acme/base")
    walk.hub.repo("acme/base-GGUF").describe(gguf={"total": 15, "architecture": "qwen3"})
    nodes = walk("acme/base-GGUF").graph.nodes
    assert nodes["acme/base"].parameters == nodes["acme/base-GGUF"].parameters == 15


def test_several_roots_and_their_common_ancestors(walk: Walker, merge: str) -> None:
    graph = walk("acme/left", "acme/right", "acme/left").graph
    assert graph.roots == ("acme/left", "acme/right")
    assert graph.levels == {"acme/left": 0, "acme/right": 0, "acme/base": -1}


def test_a_root_at_a_revision(walk: Walker, seed: Seed) -> None:
    seed("acme/other")
    commit = walk.hub.repo(seed("acme/m", base_model="acme/base")).commits()[0].oid
    seed("acme/m", base_model="acme/other")
    seed("acme/base")
    for reference in (f"acme/m@{commit}", f"hf://acme/m@{commit}"):
        assert ("acme/base", "acme/m", "finetune") in walk(reference).edges
    assert ("acme/other", "acme/m", "finetune") in walk("acme/m").edges


@pytest.mark.parametrize("written", ["https://huggingface.co/{}", "hf.co/{}/tree/main", "hf://{}"])
def test_a_root_by_its_address(walk: Walker, merge: str, written: str) -> None:
    assert walk(written.format(merge)).graph.roots == (merge,)


def test_a_folder_with_a_card(walk: Walker, merge: str) -> None:
    folder = walk.folder / "mine"
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nlicense: mit\nbase_model: {merge}\n---\n")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    walked = walk("./mine")
    node = walked.graph.nodes["./mine"]
    assert (node.state, node.licence, node.architecture) == (State.LOCAL, "mit", "llama")
    assert (merge, "./mine", "finetune") in walked.edges and walked.graph.levels["acme/base"] == -3


def test_folders_that_were_made_from_one_another(walk: Walker, merge: str) -> None:
    for name, command, inputs in (
        ("merged", "merge", {"acme/left": "0" * 40, "acme/right": None}),
        ("gguf", "quantize-gguf", {"merged": None}),
    ):
        (walk.folder / name).mkdir()
        manifest = {"command": command, "inputs": inputs}
        (walk.folder / name / "llmcourse.json").write_text(json.dumps(manifest))
    walked = walk("gguf")
    assert {("merged", "gguf", "quantized"), ("acme/left", "merged", "merge")} <= walked.edges
    assert walked.graph.nodes["merged"].state is State.LOCAL


def test_a_folder_whose_parent_is_not_here(walk: Walker) -> None:
    folder = walk.folder / "gguf"
    folder.mkdir()
    (folder / "llmcourse.json").write_text('{"command": "quantize-gguf", "inputs": {"gone": null}}')
    walked = walk("gguf")
    assert walked.graph.nodes["gone"].state is State.MISSING
    assert walked.findings("unreadable") == ["'gone' was a folder on the machine where it was used."]
    assert walk.requests == 0


def test_roots_that_cannot_be_read(walk: Walker, merge: str) -> None:
    missing = walk("acme/nothing").error
    assert missing["exit_code"] == 4 and "no acme/nothing on the Hub" in missing["what"]
    assert "hf auth login" in missing["fix"] and missing["where"] == "acme/nothing"
    both = walk("acme/nothing", merge, "./nowhere").error
    assert both["exit_code"] == 4 and len(both["problems"]) == 2
    assert walk("not an id").error["exit_code"] == 2
    (walk.folder / "empty").mkdir()
    assert "no folder './empty' with a model card" in walk("./empty").error["what"]
