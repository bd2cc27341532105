"""The tree in a card's text: what is ours is replaced, every other byte is left as it was."""

import pytest

from llmcourse.core.errors import PublishError
from llmcourse.family_tree.markers import BEGIN, END, with_tree

OLD, NEW = "graph TD\n  a --> b", "graph TD\n  a --> c"
HEAD = "---\nlicense: mit\n---\n"


def outside(card: str) -> tuple[str, str]:
    """What is before and after our part."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end
    return before, after


def test_a_card_gets_the_tree_at_its_end() -> None:
    card = f"{HEAD}\n# Name\n\nWords.\n"
    assert with_tree(card, NEW) == (f"{card}\n{BEGIN}\n## Family tree\n\n```mermaid\n{NEW}\n```\n{END}\n")


@pytest.mark.parametrize(
    "card",
    [
        f"{HEAD}# Name\n",
        "# No head\n",
        "no line's end",
        f"{HEAD}# Blank lines after\n\n\n",
        "\ufeff---\r\nlicense: mit\r\n---\r\n# CRLF\r\n",
        "---\r\nlicense: mit\r\n---",
        "# odd\x0bbreaks\u2028and\x1cothers\n",
        f"{HEAD}```python\nprint()\n```\n",
        "---\ntext: |\n  ```python\n---\n# A fence in the head\n",
        "Use ```a``` in a line\n",
        "````md\n```\nnot closed in here\n````\n",
    ],
)  # fmt: skip
def test_a_second_run_replaces_our_part_and_nothing_else(card: str) -> None:
    first = with_tree(card, OLD)
    before, after = outside(first)
    assert before.rstrip("\r\n") == card.rstrip("\r\n") and before.startswith(card) and not after.strip()
    second = with_tree(first, NEW)
    assert outside(second) == (before, after)
    assert "a --> c" in second and "a --> b" not in second
    assert with_tree(second, NEW) == second


def test_an_empty_card_is_the_tree_alone() -> None:
    assert with_tree("", NEW) == f"{BEGIN}\n## Family tree\n\n```mermaid\n{NEW}\n```\n{END}\n"


def test_our_lines_end_as_the_card_s_do() -> None:
    card = with_tree("# Windows\r\n", NEW)
    assert card.count("\n") == card.count("\r\n") == 10


def test_what_was_written_after_the_tree_and_where_it_was_moved_to_stay() -> None:
    card = f"# Name\n\n{BEGIN}\nanything\n{END}\n\n## Later\nwords  \n"
    changed = with_tree(card, NEW)
    assert outside(changed) == ("# Name\n\n", "\n\n## Later\nwords  \n")


def test_a_last_marker_without_line_s_end_keeps_it_so() -> None:
    assert with_tree(f"{BEGIN}\n{END}", NEW).endswith(END)


def test_a_marker_whose_remark_was_edited_is_still_one() -> None:
    card = "  <!--llmcourse family-tree: begin-->  \nold\n<!-- llmcourse family-tree: end, really -->\nrest\n"
    assert outside(with_tree(card, NEW)) == ("", "\nrest\n")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([BEGIN, "a"], "begin in line 1"),
        (["a", END], "end in line 2"),
        ([END, BEGIN], "end in line 1, begin in line 2"),
        ([BEGIN, END, "a", BEGIN, END], "begin in line 1, end in line 2, begin in line 4, end in line 5"),
        ([BEGIN, BEGIN, END], "begin in line 1, begin in line 2, end in line 3"),
    ],
)
def test_markers_that_are_not_one_pair_are_refused(lines: list[str], told: str) -> None:
    with pytest.raises(PublishError) as caught:
        with_tree("\n".join(lines) + "\n", NEW)
    assert caught.value.what.endswith(f"are not one pair: {told}.")
    assert caught.value.fix.startswith("Take them out of the card")


def test_markers_that_a_card_shows_as_code_are_not_ours() -> None:
    card = f"# How it works\n\n~~~html\n{BEGIN}\n{END}\n~~~\n"
    changed = with_tree(card, NEW)
    assert changed.startswith(card) and changed.count(BEGIN) == 2
    assert with_tree(changed, NEW) == changed


def test_a_card_that_ends_inside_a_code_block_is_refused() -> None:
    with pytest.raises(PublishError, match=r"begins in line 3 and never ends\."):
        with_tree("# Name\n\n```python\nprint()\n", NEW)


def test_no_text_of_a_diagram_can_leave_it() -> None:
    hostile = f'graph TD\n  a["x"]\n```\n{END}\n# hello\n````\n{BEGIN}'
    card = with_tree("# Name\n", hostile)
    assert "\n`````mermaid\n" in card and "\n`````\n" in card
    assert with_tree(card, NEW) == with_tree("# Name\n", NEW)
