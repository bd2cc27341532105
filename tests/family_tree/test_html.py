"""The page as a file: whole, closed to the network, and deaf to what cards say."""

import json
import re

import pytest

from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import html
from tests.family_tree import families


def page_of(graph: object, colour_by: str = "licence") -> str:
    return formats.render(graph, "html", colour_by).decode()  # type: ignore[arg-type]


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="family">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def test_the_page_is_one_file_that_loads_nothing() -> None:
    page = page_of(families.everything())
    assert not re.search(r"<(link|img|iframe|object|embed)\b|\bsrc=|@import|url\(", page)
    assert "default-src 'none'" in page


def test_the_layout_engine_comes_with_its_licence_and_version() -> None:
    page = page_of(families.small())
    assert f"dagre {html.DAGRE_VERSION}" in page
    assert "Copyright (c) 2012-2014 Chris Pettitt" in page


@pytest.mark.parametrize(
    "text",
    ["</script><script>alert(1)</script>", "<!--<script>", "{{ 7 * 7 }}", "'\"`${alert(1)}", "\u2028\x00"],
)
def test_what_a_card_says_ends_no_script_and_starts_none(text: str) -> None:
    harmless, hostile = page_of(families.hostile("harmless")), page_of(families.hostile(text))
    assert hostile.count("<script") == harmless.count("<script")
    assert hostile.count("</script") == harmless.count("</script")
    assert "alert(1)</script>" not in hostile
    assert data_of(hostile)["nodes"]


def test_an_address_that_is_not_of_the_web_is_no_link() -> None:
    nodes = data_of(page_of(families.hostile("x")))["nodes"]
    assert isinstance(nodes, list)
    assert [node["url"] for node in nodes] == ["https://x/x", ""]


def test_every_model_and_every_edge_is_in_the_page() -> None:
    graph = families.everything()
    data = data_of(page_of(graph, "relation"))
    assert isinstance(data["nodes"], list) and isinstance(data["edges"], list)
    assert [node["title"] for node in data["nodes"]][:-1] == list(graph.nodes)[:-1]
    assert len(data["edges"]) == len(graph.edges)
    assert data["colourBy"] == "relation"


def test_a_page_of_five_thousand_models_is_written_in_a_moment_and_is_not_large() -> None:
    assert len(page_of(families.large(5_000))) < 4_000_000
