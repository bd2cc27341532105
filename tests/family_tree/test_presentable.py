"""What a card may say of a family: no path of this machine, and in a public card no private model."""

from llmcourse.family_tree.graph import Edge, Graph, Node, Relation, State
from llmcourse.family_tree.presentable import presentable

ROOT, SECRET, PUBLIC = "/home/alice/runs/merged", "alice/secret", "org/base"


def family() -> Graph:
    rest = f"{SECRET}#quantized"
    nodes = {
        ROOT: Node(ROOT, State.LOCAL),
        "/data/chat": Node("/data/chat", State.LOCAL),
        "/other/chat": Node("/other/chat", State.LOCAL),
        SECRET: Node(SECRET, url="https://x/alice/secret", licence="mit", is_private=True),
        "bob/secret": Node("bob/secret", is_private=True),
        PUBLIC: Node(PUBLIC, licence="mit"),
        rest: Node(rest, State.REST, url="https://x/alice/secret", hidden=7),
    }
    pairs = [
        (PUBLIC, SECRET),
        (SECRET, ROOT),
        ("bob/secret", ROOT),
        ("/data/chat", ROOT),
        ("/other/chat", ROOT),
    ]
    edges = tuple(
        Edge(a, b, Relation.MERGE, ("card",), note=f"{a} is told") for a, b in (*pairs, (SECRET, rest))
    )
    return Graph((ROOT,), nodes, edges, dict.fromkeys(nodes, 0), shares={PUBLIC: 1.0, SECRET: 0.5})


def test_a_public_card_names_no_private_model_and_no_path() -> None:
    shown = presentable(family(), "alice/merged", is_public=True)
    assert list(shown.nodes) == [
        "alice/merged", "chat", "chat (2)", "a private model", "a private model (2)", PUBLIC,
        "a private model#quantized",
    ]  # fmt: skip
    assert "secret" not in repr(shown) and "/home" not in repr(shown) and "/data" not in repr(shown)
    assert shown.roots == ("alice/merged",) and shown.nodes["alice/merged"].state is State.READ
    assert [(edge.parent, edge.child) for edge in shown.edges] == [
        (PUBLIC, "a private model"),
        ("a private model", "alice/merged"),
        ("a private model (2)", "alice/merged"),
        ("chat", "alice/merged"),
        ("chat (2)", "alice/merged"),
        ("a private model", "a private model#quantized"),
    ]
    assert set(shown.levels) == set(shown.nodes) and shown.shares["a private model"] == 0.5


def test_a_private_card_names_all_models() -> None:
    shown = presentable(family(), "alice/merged", is_public=False)
    assert shown.nodes[SECRET] == family().nodes[SECRET]
    assert "/home" not in repr(shown)


def test_a_family_without_secrets_is_shown_as_it_is() -> None:
    graph = Graph((PUBLIC,), {PUBLIC: Node(PUBLIC, licence="mit", names=("org/old",))}, (), {PUBLIC: 0})
    assert presentable(graph, PUBLIC, is_public=True) == graph


def test_a_folder_that_is_gone_keeps_its_path_to_itself() -> None:
    gone = "/home/alice/runs/gone"
    nodes = {ROOT: Node(ROOT, State.LOCAL), gone: Node(gone, State.MISSING, reason=f"There is no {gone}.")}
    graph = Graph((ROOT,), nodes, (Edge(gone, ROOT, Relation.MERGE, ("card",)),), dict.fromkeys(nodes, 0))
    shown = presentable(graph, "alice/merged", is_public=True)
    assert list(shown.nodes) == ["alice/merged", "gone"] and "/home" not in repr(shown)


def test_what_only_a_private_card_names_and_nobody_read_has_no_name_either() -> None:
    nodes = {
        "org/a": Node("org/a"),
        SECRET: Node(SECRET, is_private=True),
        "alice/older-secret": Node("alice/older-secret", State.BEYOND),
        "alice/gone-secret": Node("alice/gone-secret", State.MISSING),
        "org/gone": Node("org/gone", State.MISSING),
    }
    pairs = [(SECRET, "org/a"), ("alice/older-secret", SECRET), ("alice/gone-secret", SECRET)]
    pairs += [("org/gone", SECRET), ("org/gone", "org/a")]
    edges = tuple(Edge(parent, child, Relation.FINETUNE, ("card",)) for parent, child in pairs)
    graph = Graph(("org/a",), nodes, edges, dict.fromkeys(nodes, 0))
    shown = presentable(graph, "org/a", is_public=True)
    assert "secret" not in repr(shown) and "org/gone" in shown.nodes
    assert presentable(graph, "org/a", is_public=False).nodes.keys() == nodes.keys()
