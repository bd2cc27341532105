"""Nothing on the Hub stops a walk: what cannot be read is drawn as such and listed."""

import pytest

from llmcourse.family_tree.graph import Relation, State
from llmcourse.testing.hub import Fault
from tests.family_tree.conftest import Seed, Walker


def test_a_cycle(walk: Walker, seed: Seed) -> None:
    for name, parent in (("a", "b"), ("b", "c"), ("c", "a")):
        seed(f"acme/{name}", base_model=f"acme/{parent}")
    walked = walk("acme/a")
    assert len(walked.edges) == 3
    assert [edge.child for edge in walked.graph.edges if edge.closes_cycle] == ["acme/c"]
    assert walked.findings("cycle") == [
        "These name each other as their origin, which cannot be: acme/a - acme/b - acme/c - acme/a."
    ]
    down = walk("acme/a", direction="down")
    assert [edge.parent for edge in down.graph.edges if edge.closes_cycle] == ["acme/b"]
    assert walk("acme/a", direction="both").graph.nodes.keys() == {"acme/a", "acme/b", "acme/c"}


def test_a_model_that_names_itself(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    walked = walk(seed("acme/a", base_model=["acme/A", "acme/base"]))
    assert walked.edges == {("acme/base", "acme/a", "merge")}
    assert "acme/a names itself as its base model" in walked.findings("cycle")[0]


def test_a_missing_and_a_deleted_parent(walk: Walker, seed: Seed) -> None:
    seed("acme/deleted")
    seed("acme/there")
    seed("acme/a", base_model=["acme/never", "acme/deleted", "acme/there"])
    walk.hub.repo("acme/deleted").delete()
    walked = walk("acme/a")
    states = {name: node.state for name, node in walked.graph.nodes.items()}
    assert states == {
        "acme/a": State.READ,
        "acme/never": State.MISSING,
        "acme/deleted": State.MISSING,
        "acme/there": State.READ,
    }
    assert len(walked.edges) == 3 and len(walked.findings("unreadable")) == 2


def test_a_private_parent_is_missing_to_those_who_may_not_see_it(walk: Walker, seed: Seed) -> None:
    seed("alice/secret", license="mit", base_model="acme/base")
    walk.hub.repo("alice/secret").set_private(True)
    seed("acme/base")
    seed("acme/a", base_model="alice/secret")
    for user in (None, "bob"):
        node = walk("acme/a", user=user).graph.nodes["alice/secret"]
        assert node.state is State.MISSING and "deleted, misspelt, or private" in node.reason
    seen = walk("acme/a", user="alice").graph.nodes["alice/secret"]
    assert (seen.state, seen.licence, seen.is_private) == (State.READ, "mit", True)
    # What alice may see is kept on disk, and is still hers.
    assert walk("acme/a", is_offline=True).graph.nodes["alice/secret"].state is State.MISSING


def test_a_gated_parent_and_what_lies_behind_it(walk: Walker, seed: Seed) -> None:
    seed("meta/base", license="llama3")
    seed("meta/gated", license="llama3", base_model="meta/base")
    walk.hub.repo("meta/gated").gate("manual", allowed=["bob"])
    seed("acme/a", base_model="meta/gated")
    walked = walk("acme/a")
    node = walked.graph.nodes["meta/gated"]
    assert (node.state, node.is_gated, node.licence) == (State.GATED, True, "llama3")
    assert walked.findings("unreadable") == ["meta/gated is gated: its card was read, its files were not."]
    assert walked.graph.levels["meta/base"] == -2
    assert walk("acme/a", user="bob").graph.nodes["meta/gated"].state is State.READ


def test_a_gated_merge_whose_recipe_may_not_be_read(walk: Walker, seed: Seed) -> None:
    seed("acme/left")
    seed("acme/right")
    recipe = "models: [{model: acme/left}, {model: acme/right}]\nmerge_method: slerp\n"
    seed("meta/merge", {"mergekit_config.yml": recipe}, base_model=["acme/left", "acme/right"])
    walk.hub.repo("meta/merge").gate("auto", allowed=["bob"])
    assert walk("meta/merge", user="alice").graph.nodes["meta/merge"].state is State.GATED
    read = walk("meta/merge", user="bob")
    assert read.graph.nodes["meta/merge"].state is State.READ
    assert read.edge("acme/left", "meta/merge").method == "slerp"


@pytest.mark.parametrize("user", [None, "alice"])
def test_a_disabled_parent(walk: Walker, seed: Seed, user: str | None) -> None:
    seed("acme/bad")
    seed("acme/a", base_model="acme/bad")
    walk.hub.repo("acme/bad").describe(is_disabled=True)
    node = walk("acme/a", user=user).graph.nodes["acme/bad"]
    # To those who are not signed in, the Hub says that there is nothing.
    assert node.state is (State.DISABLED if user else State.MISSING)


def test_a_renamed_parent(walk: Walker, seed: Seed) -> None:
    seed("acme/old", license="mit")
    walk.hub.repo("acme/old").rename("beta/new")
    seed("acme/a", base_model="acme/old")
    seed("acme/b", base_model=["acme/a", "beta/new"])
    walked = walk("acme/b")
    node = walked.graph.nodes["beta/new"]
    assert (node.licence, node.names) == ("mit", ("acme/old",))
    assert {("beta/new", "acme/a", "finetune"), ("beta/new", "acme/b", "merge")} <= walked.edges
    assert walked.findings("name") == ["acme/old is by now called beta/new on the Hub."]


def test_a_name_without_owner(walk: Walker, seed: Seed) -> None:
    seed("openai/gpt2")
    handle = walk.hub.repo("openai/gpt2")
    handle.rename("gpt2")
    handle.rename("openai-community/gpt2")
    seed("acme/a", base_model="gpt2")
    assert walk("acme/a").edges == {("openai-community/gpt2", "acme/a", "finetune")}
    assert walk("gpt2").graph.roots == ("openai-community/gpt2",)


def test_a_parent_in_another_letter_case(walk: Walker, seed: Seed) -> None:
    seed("Acme/Base")
    seed("acme/a", base_model=["acme/base", "ACME/BASE"])
    walked = walk("acme/a")
    assert {edge[0] for edge in walked.edges} == {"Acme/Base"}
    assert walked.findings("name") == ["acme/base is spelt Acme/Base on the Hub."]
    assert sum("base?" in record.path.lower() for record in walk.hub.requests) == 2  # asked, and led on, once


@pytest.mark.parametrize(
    "written",
    [
        "https://huggingface.co/acme/base",
        "http://hf.co/acme/base/tree/main",
        "https://huggingface.co/acme/base/blob/main/README.md?x=1#top",
        "[the base](https://huggingface.co/acme/base)",
        "hf://acme/base",
        " acme/base/ ",
        "`acme/base`",
        "acme/base@main",
    ],
)
def test_a_parent_written_otherwise(walk: Walker, seed: Seed, written: str) -> None:
    seed("acme/base")
    seed("acme/a", base_model=written)
    assert walk("acme/a").edges == {("acme/base", "acme/a", "finetune")}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("./merged", "is a path on its author's machine"),
        ("/root/models/x", "is a path on its author's machine"),
        ("C:\\models\\x", "is a path on its author's machine"),
        ("https://github.com/acme/base", "is an address outside the Hub"),
        ("https://huggingface.co/datasets/acme/data", "but of no model"),
        ("hf://datasets/acme/data", "but of no model"),
        ("spaces/acme/demo", "but of no model"),
        ("Llama 2, 7B", "can be no model's id"),
        ("acme/b<script>alert(1)</script>", "is a path"),
        ("x" * 500, "can be no model's id"),
    ],
)
def test_a_parent_that_can_be_none(walk: Walker, seed: Seed, written: str, reason: str) -> None:
    walked = walk(seed("acme/a", base_model=written))
    (node,) = [node for name, node in walked.graph.nodes.items() if name != "acme/a"]
    assert node.state is State.MISSING and reason in node.reason and len(node.id) < 130
    assert len(walked.edges) == 1 and walked.findings("unreadable") == [node.reason]
    assert sum("/api/" in record.path for record in walk.hub.requests) == 1


def test_a_typing_error(walk: Walker, seed: Seed) -> None:
    seed("mistralai/Mistral-7B-v0.1")
    walked = walk(seed("acme/a", base_model="mistralai/Mistral-7B-v0.l"))
    assert walked.graph.nodes["mistralai/Mistral-7B-v0.l"].state is State.MISSING


@pytest.mark.parametrize("base_model", [None, [], {}, 7, [None, 3, ""], True])
def test_heads_that_say_nothing(walk: Walker, seed: Seed, base_model: object) -> None:
    seed("acme/a", tags="no list", license=["mit", 3], base_model=base_model)
    graph = walk("acme/a").graph
    assert list(graph.nodes) == ["acme/a"] and graph.nodes["acme/a"].licence == "mit"
    told = any("for a base model, which is no model's name" in found.sentence for found in graph.findings)
    assert told == (base_model not in (None, []))


@pytest.mark.parametrize(
    "weight",
    ["1" + 400 * "0", "&w [*w]", ".nan", ".inf", "{value: &v {value: *v}}"],
    ids=lambda text: text[:4],
)
def test_a_recipe_that_no_reader_survives_tells_nothing(walk: Walker, seed: Seed, weight: str) -> None:
    seed("acme/base")
    recipe = f"models: [{{model: acme/base, parameters: {{weight: {weight}}}}}]\nmerge_method: linear\n"
    seed("acme/parent", {"mergekit_config.yml": recipe}, base_model="acme/base")
    walked = walk(seed("acme/a", base_model="acme/parent"))
    assert ("acme/base", "acme/parent") in {edge[:2] for edge in walked.edges}
    assert all(edge.weight is None for edge in walked.graph.edges)


def test_a_recipe_that_holds_itself_tells_nothing(walk: Walker, seed: Seed) -> None:
    seed("acme/a", {"mergekit_config.yml": "&a\nmodules:\n  x: *a\n"})
    assert list(walk("acme/a").graph.nodes) == ["acme/a"]


def test_of_several_licences_all_hold(walk: Walker, seed: Seed) -> None:
    seed("acme/a", license=["mit", "cc-by-nc-4.0"])
    assert walk("acme/a").graph.nodes["acme/a"].licence == "cc-by-nc-4.0"


@pytest.mark.slow
def test_children_with_long_cards_are_all_listed(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    for number in range(40):
        seed(f"acme/child-{number}", base_model="acme/base", extra="x" * 150_000)
    assert len(walk("acme/base", direction="down", limit=100).graph.nodes) == 41


def test_a_broken_recipe_hides_no_other_file(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    adapter = '{"base_model_name_or_path": "acme/base"}'
    seed("acme/a", {"mergekit_config.yml": "models: [", "adapter_config.json": adapter})
    assert ("acme/base", "acme/a", "adapter") in walk("acme/a").edges


def test_a_card_that_is_no_card(walk: Walker, seed: Seed) -> None:
    seed("acme/a", {"README.md": b"---\nbase_model: [unclosed\n---\n\xff\xfe", "config.json": "[]"})
    assert list(walk("acme/a").graph.nodes) == ["acme/a"]


def test_evidences_that_disagree_on_the_parents(walk: Walker, seed: Seed) -> None:
    for name in ("one", "two", "three"):
        seed(f"acme/{name}")
    recipe = "models: [{model: acme/one}, {model: acme/three}]\nmerge_method: slerp\nparameters: {t: 0.25}\n"
    seed("acme/a", {"mergekit_config.yml": recipe}, base_model=["acme/one", "acme/two"])
    walked = walk("acme/a")
    assert walked.edge("acme/one", "acme/a").note == ""
    only_card, only_recipe = (walked.edge(f"acme/{name}", "acme/a") for name in ("two", "three"))
    assert only_card.note == "The Hub's list and the card name it, mergekit_config.yml does not."
    assert only_recipe.note == "mergekit_config.yml names it, the Hub's list and the card do not."
    assert (only_card.share, only_recipe.share) == (0.0, 0.25)
    assert len(walked.findings("disagreement")) == 2


def test_evidences_that_disagree_on_the_relation(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    recipe = {"mergekit_config.yml": "models: [{model: acme/base}]\nmerge_method: passthrough\n"}
    seed("acme/a", recipe, base_model="acme/base")
    edge = walk("acme/a").edge("acme/base", "acme/a")
    assert edge.relation is Relation.MERGE and "says finetune" in edge.note and "says merge" in edge.note
    seed("acme/b", base_model="acme/base", tags=["mergekit", "merge"])
    edge = walk("acme/b").edge("acme/base", "acme/b")
    assert edge.relation is Relation.MERGE and "takes it for a finetune" in edge.note


@pytest.mark.slow
def test_thousands_of_children(walk: Walker, seed: Seed) -> None:
    seed("acme/base", license="mit")
    for number in range(1200):
        relation = "quantized" if number % 6 else "merge"
        head = f"---\nbase_model: acme/base\nbase_model_relation: {relation}\n---\n".encode()
        handle = walk.hub.repo(f"many/m{number}")
        handle.add_files({"README.md": head})
        if number < 20:
            handle.describe(downloads=1000 - number)
    walked = walk("acme/base", direction="down", depth=1)
    nodes = walked.graph.nodes
    assert len(nodes) == 1 + 50 + 2
    assert (nodes["acme/base#merge"].hidden, nodes["acme/base#quantized"].hidden) == (175, 975)
    assert nodes["acme/base#quantized"].reason == "and 975 more quantized models"
    assert nodes["acme/base#merge"].state is State.REST and len(walked.findings("limit")) == 2
    shown = [name for name in nodes if name.startswith("many/")]
    assert {"many/m0", "many/m6", "many/m12", "many/m18", "many/m1", "many/m19"} <= set(shown)
    # Of each relation the most downloaded come first.
    assert shown[:4] == ["many/m0", "many/m6", "many/m12", "many/m18"]
    assert len({edge for edge in walked.edges if edge[0] == "acme/base"}) == 52
    assert walk.requests == 1 + 2

    walk.hub.settings.page_size = 500
    walk.hub.clear_requests()
    everything = walk("acme/base", direction="down", depth=1, limit=5000)
    assert len(everything.graph.nodes) == 1201 and walk.requests == 1 + 3

    walk.hub.clear_requests()
    ended = walk("acme/base", direction="down", limit=5000)
    assert ended.graph.nodes == everything.graph.nodes and walk.requests == 1 + 3
    assert [said for said in ended.findings("limit") if "1,200 descendants were read" in said]


def test_the_limit_below_the_roots(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    seed("acme/child", base_model="acme/base")
    for number in range(5):
        seed(f"acme/grandchild{number}", base_model="acme/child")
    nodes = walk("acme/base", direction="down", limit=3).graph.nodes
    assert nodes["acme/child#finetune"].hidden == 2
    assert len([name for name in nodes if "grandchild" in name]) == 3


@pytest.mark.parametrize("status", [500, 503])
def test_a_parent_that_the_hub_fails_on(walk: Walker, seed: Seed, status: int) -> None:
    seed("acme/base")
    seed("acme/other")
    seed("acme/a", base_model=["acme/base", "acme/other"])
    walk.hub.faults.append(Fault(path="/acme/base", status=status, times=2))
    assert walk("acme/a").graph.nodes["acme/base"].state is State.READ
    walk.hub.faults.append(Fault(path="/acme/base", status=status, times=None))
    walked = walk("acme/a")
    node = walked.graph.nodes["acme/base"]
    assert node.state is State.FAILED and f"HTTP {status}" in node.reason
    assert walked.graph.nodes["acme/other"].state is State.READ


def test_an_answer_that_makes_no_sense(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    seed("acme/a", base_model="acme/base")
    page = "<html>Please log in</html>"
    walk.hub.faults.append(Fault(path="/acme/base", status=200, body=page, times=None))
    node = walk("acme/a").graph.nodes["acme/base"]
    assert node.state is State.FAILED and "could not be understood" in node.reason


def test_a_connection_that_breaks(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    seed("acme/a", base_model="acme/base")
    walk.hub.faults.append(Fault(path="/acme/base", drop_download_after_bytes=10, reset=True))
    assert walk("acme/a").graph.nodes["acme/base"].state is State.READ


def test_a_deep_family(walk: Walker, seed: Seed) -> None:
    seed("deep/m0")
    for number in range(1, 150):
        seed(f"deep/m{number}", base_model=f"deep/m{number - 1}")
    assert min(walk("deep/m149").graph.levels.values()) == -149


def test_a_bad_token(walk: Walker, seed: Seed) -> None:
    error = walk(seed("acme/a"), user="expired").error
    assert error["exit_code"] == 4 and "refused your token" in error["what"]
    assert "hf auth login" in error["fix"]


def test_a_card_that_names_thousands(walk: Walker, seed: Seed) -> None:
    seed("acme/a", base_model=[f"acme/p{number}" for number in range(2000)])
    walked = walk("acme/a")
    assert len(walked.graph.nodes) == 501
    assert "acme/a names 2,000 parents, of which the first 500 were followed." in walked.findings(
        "unreadable"
    )


BROKEN = "---\nlicense: mit\nbase_model: [acme/base\n---\n# A model\n"


def test_a_folder_whose_card_is_broken_is_refused_with_the_line(walk: Walker) -> None:
    folder = walk.folder / "mine"
    folder.mkdir()
    (folder / "README.md").write_text(BROKEN)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    said = walk("./mine").error
    assert said["exit_code"] == 4 and "what cannot be read is the YAML head of its card" in said["what"]
    assert "line 4" in said["what"]


def test_a_folder_with_a_broken_card_and_other_evidence_is_drawn_and_told(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    folder = walk.folder / "mine"
    folder.mkdir()
    (folder / "README.md").write_text(BROKEN)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base"}')
    walked = walk("./mine")
    assert walked.edges == {("acme/base", "./mine", "adapter")}
    assert "the YAML head of its card" in walked.findings("unreadable")[0]


def test_a_broken_recipe_and_a_broken_adapter_config_are_told(walk: Walker, seed: Seed) -> None:
    seed("acme/base")
    seed("acme/lora", {"adapter_config.json": "{"}, base_model="acme/base")
    assert "adapter_config.json, which is no JSON object" in walk("acme/lora").findings("unreadable")[0]


def test_an_adapter_whose_card_and_configuration_differ_has_both_bases_and_a_finding(
    walk: Walker, seed: Seed
) -> None:
    seed("acme/one")
    seed("acme/two")
    seed(
        "acme/lora", {"adapter_config.json": '{"base_model_name_or_path": "acme/two"}'}, base_model="acme/one"
    )
    walked = walk("acme/lora")
    assert walked.edges == {("acme/one", "acme/lora", "adapter"), ("acme/two", "acme/lora", "adapter")}
    told = " ".join(walked.findings("disagreement"))
    assert "acme/one as a parent of acme/lora" in told and "adapter_config.json does not." in told
    assert "acme/two as a parent of acme/lora: Adapter_config" not in told


def test_an_adapter_whose_card_and_configuration_agree_has_no_finding(walk: Walker, seed: Seed) -> None:
    seed("acme/one")
    seed(
        "acme/lora", {"adapter_config.json": '{"base_model_name_or_path": "acme/one"}'}, base_model="acme/one"
    )
    assert walk("acme/lora").findings("disagreement") == []
