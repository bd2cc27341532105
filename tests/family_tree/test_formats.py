"""The table of formats: every one is drawn by its module, and a file's ending names one."""

from pathlib import Path

import pytest

from llmcourse.core.errors import ConfigError
from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import look
from llmcourse.family_tree.graph import Node, Relation, State
from tests.family_tree import families


@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("colour_by", ["licence", "relation"])
def test_every_format_draws_every_state(format: str, colour_by: look.ColourBy) -> None:
    drawn = formats.render(families.everything(), format, colour_by)
    if format != "png":
        assert "demo/Family-7B" in drawn.decode() and drawn.endswith(b"\n")


@pytest.mark.parametrize("format", formats.FORMATS)
def test_a_model_without_relatives_is_a_family_too(format: str) -> None:
    assert formats.render(families.graph(["demo/Alone"], [Node("demo/Alone")], []), format)


@pytest.mark.parametrize(
    ("name", "format"), [("a.html", "html"), ("b.SVG", "svg"), ("c.gv", "dot"), ("d.mmd", "mermaid")]
)
def test_the_ending_of_a_file_names_its_format(name: str, format: str) -> None:
    assert formats.format_of(Path(name)) == format


def test_an_ending_that_is_none_of_these_is_an_error_that_lists_them() -> None:
    with pytest.raises(ConfigError) as caught:
        formats.format_of(Path("family.pdf"))
    assert "family.pdf" in caught.value.what and ".svg" in caught.value.fix


@pytest.mark.parametrize("colour_by", ["licence", "relation"])
def test_every_class_has_a_colour(colour_by: look.ColourBy) -> None:
    for graph in (families.everything(), families.large(200)):
        assert look.used_classes(graph, colour_by) <= set(look.legend(colour_by))


def test_every_state_has_a_border_and_every_relation_a_colour() -> None:
    assert set(look.DASHES) == set(State)
    assert {relation.value for relation in Relation} <= set(look.legend("relation"))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", look.legend("licence").values(), ids=lambda colour: colour.word)
def test_text_is_read_on_every_fill_and_lines_are_seen_on_every_page(colour: look.Colour) -> None:
    """By WCAG 2.2: 4.5 for text, 3 for what is drawn."""
    for ink in ("#1f2328", "#57606a"):
        assert _contrast(ink, colour.fill) >= 4.5
    for ink in ("#e6edf3", "#b1bac4"):
        assert _contrast(ink, colour.dark_fill) >= 4.5
    assert _contrast(colour.line, "#ffffff") >= 3
    assert _contrast(colour.dark_line, "#0d1117") >= 3
