"""The tree on a terminal and in a text file."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import terminal
from llmcourse.family_tree.graph import Graph, Relation
from tests.family_tree import families


def text_of(graph: Graph) -> str:
    return formats.render(graph, "tree").decode()


def printed(graph: Graph, width: int, **options: object) -> str:
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system="standard")
    console.print(terminal.draw(graph, "licence", width, **options), soft_wrap=True)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_merge_and_its_ancestors_are_drawn_as_a_tree() -> None:
    assert text_of(families.small()) == (
        "demo/Merge-7B  apache-2.0 · 7.24 B\n"
        "├── demo/Tuned-7B  mit · 7.24 B  merge (slerp) 0.6\n"
        "│   └── lab/Base-7B  cc-by-nc-4.0 · 7.24 B  finetune\n"
        "└── lab/Chat-7B  cc-by-nc-4.0 · 7.24 B  merge (slerp) 0.4\n"
        "    └── lab/Base-7B  cc-by-nc-4.0 · 7.24 B  finetune\n"
        "\n"
        "models: 4\n"
        "reach: 2 generations back\n"
        "merges: 1\n"
        "licence by its ancestors: cc-by-nc-4.0 (it states apache-2.0)\n"
        "share of the weights: lab/Base-7B 100.0%\n"
    ).replace("lab/Base-7B  cc-by-nc-4.0", "lab/Base-7B  llama3")


def test_both_directions_have_a_heading_each() -> None:
    lines = text_of(families.everything()).splitlines()
    assert "├── made from" in lines and "└── what came of it" in lines
    assert "    └── and 312 more  quantized" in lines


def test_a_model_that_could_not_be_read_says_its_state() -> None:
    text = text_of(families.everything())
    for words in ("gone/Deleted-7B  missing", "lab/Gated-7B  llama3 · gated", "lab/Silent-7B  not read"):
        assert words in text
    assert "lab/Further-7B  not followed" in text and "./my-model  mit · 7.24 B · local" in text


def test_a_cycle_ends_where_it_closes() -> None:
    lines = [line for line in text_of(families.everything()).splitlines() if "(cycle)" in line]
    assert len(lines) == 1 and "demo/Left-7B" in lines[0]


def test_a_model_that_is_met_again_is_not_opened_again() -> None:
    base, root = "lab/Base-7B", "demo/Merge-7B"
    graph = families.small()
    deeper = families.graph(
        [root],
        [*graph.nodes.values(), families.model("old/Older-7B")],
        [*graph.edges, families.tuned("old/Older-7B", base)],
    )
    text = text_of(deeper)
    assert text.count("old/Older-7B") == 1
    assert "finetune  (shown above)" in text


def test_common_ancestors_of_several_models_are_marked() -> None:
    graph = families.small()
    several = families.graph(
        ["demo/Tuned-7B", "lab/Chat-7B"], list(graph.nodes.values())[1:], graph.edges[2:]
    )
    assert text_of(several).count("(common ancestor)") == 2


def test_the_other_parents_of_a_merge_below_are_named() -> None:
    graph = families.small()
    down = families.graph(["lab/Base-7B"], graph.nodes.values(), graph.edges)
    assert "merge (slerp) 0.6 with lab/Chat-7B" in text_of(down)


def test_a_terminal_gets_colours_and_a_pipe_gets_none() -> None:
    assert "\x1b[" in printed(families.small(), 100)
    assert "\x1b[" not in formats.render(families.small(), "tree").decode()
    assert "\x1b[" not in printed(families.small(), 100, is_plain=True)


@pytest.mark.parametrize("width", [38, 60, 80, 120])
def test_a_narrow_terminal_has_all_that_a_wide_one_has(width: int) -> None:
    tree = printed(families.small(), width, is_plain=True).split("\n\n")[0]
    assert all(len(line) <= width for line in tree.splitlines())
    for said in ("demo/Tuned-7B", "mit · 7.24 B", "merge (slerp) 0.6", "cc-by-nc-4.0 · 7.24 B", "finetune"):
        assert said in tree
    assert "…" not in tree and len(tree.splitlines()) == (9 if width == 38 else 5)


def test_what_fits_nowhere_ends_with_an_ellipsis_and_names_are_whole() -> None:
    tree = printed(families.everything(), 24, is_plain=True).split("\n\n")[0]
    assert "…" in tree
    assert "quants/Family-7B-GGUF" in tree


def test_the_tree_alone_has_no_summary() -> None:
    whole, bare = (printed(families.small(), 80, is_plain=True, is_bare=bare) for bare in (False, True))
    assert "models: " in whole and "models: " not in bare and whole.startswith(bare.rstrip("\n"))


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;title\x07", "a\nb", "[bold]x[/bold]", "\u202egnp.exe"])
def test_what_a_card_says_moves_no_cursor(text: str) -> None:
    drawn = text_of(families.hostile(text))
    assert not any(ord(character) < 32 for character in drawn.replace("\n", ""))
    assert "\u202e" not in drawn
    assert len(drawn.splitlines()) == len(text_of(families.hostile("plain")).splitlines())
    if text.startswith("["):
        assert text in drawn


def test_a_chain_longer_than_pythons_recursion_is_drawn() -> None:
    lines = text_of(families.chain(1_500)).splitlines()
    assert sum("demo/Step-" in line for line in lines) == 1_500
    assert lines[1_499].endswith("demo/Step-1499  apache-2.0 · 7.24 B  finetune")


def test_thousands_of_models_are_drawn_a_line_each() -> None:
    graph = families.large(5_000)
    assert sum("Model-" in line for line in text_of(graph).splitlines()) == 1 + len(graph.edges)


def test_colours_by_relation_follow_the_edges() -> None:
    graph = families.small()
    tuned = replace(graph, edges=tuple(replace(edge, relation=Relation.ADAPTER) for edge in graph.edges))
    out = StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard")
    console.print(terminal.draw(tuned, "relation"))
    assert "\x1b[1;32mdemo/Merge-7B" in out.getvalue()
