"""The Mermaid text: what it says, what a card cannot put into it, and that Mermaid itself draws it.

Mermaid's own build is not part of the project: MERMAID_JS names one (`make mermaid`).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import mermaid
from llmcourse.family_tree.graph import Graph
from tests.family_tree import chromium, families

_HOSTILE = [
    'a"]; click n0 "javascript:alert(1)"',
    "`**x**` #quot; #lt;b#gt;",
    "</pre><script>alert(1)</script>",
    "end\n%%{init: {'securityLevel': 'loose'}}%%",
    "ünï/模型 🤗 |x| {y}",
]


def text_of(graph: Graph) -> str:
    return formats.render(graph, "mermaid").decode()


def test_models_relations_and_colours_are_said() -> None:
    lines = text_of(families.small()).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0["demo/Merge-7B<br/>apache-2.0 · 7.24 B"]:::permissive' in lines
    assert '  n1 -->|"merge 0.6"| n0' in lines
    assert "  classDef permissive fill:#d3efe6,stroke:#007a5a,color:#111" in lines
    assert '  click n3 href "https://huggingface.co/lab/Base-7B" _blank' in lines


def test_states_and_cycles_are_told_by_more_than_a_colour() -> None:
    text = text_of(families.everything())
    assert '"gone/Deleted-7B<br/>missing"' in text
    assert 'n1 -.->|"finetune (cycle)"| n4' in text
    assert "classDef dashed stroke-dasharray" in text and "classDef dotted stroke-dasharray" in text


@pytest.mark.parametrize("hostile", _HOSTILE)
def test_what_a_card_says_ends_no_line_and_no_string(hostile: str) -> None:
    plain, text = text_of(families.hostile("plain")), text_of(families.hostile(hostile))
    assert len(text.splitlines()) == len(plain.splitlines())
    for line, pattern in zip(text.splitlines(), plain.splitlines(), strict=True):
        assert line.count('"') == pattern.count('"')
    links = [line for line in text.splitlines() if line.startswith("  click")]
    assert all(re.fullmatch(r'  click n\d+ href "https?://[^"\s<>]*" _blank', link) for link in links)


def test_a_large_family_keeps_to_mermaids_limits_and_says_what_it_left_out() -> None:
    graph = families.large(5_000)
    text = text_of(graph)
    edges = text.count("-->")
    models = text.count("Model-")
    assert len(text) <= mermaid.MAX_CHARACTERS and edges <= mermaid.MAX_EDGES
    assert models > 250
    assert (
        f"and {5_000 - models + 1:,} more".replace(",", "#44;") in text
        or f"and {5_000 - models + 1:,} more" in text
    )
    assert "user0/Model-0-7B" in text


def test_links_go_before_models_do() -> None:
    graph = families.large(390)
    assert len(graph.edges) < mermaid.MAX_EDGES
    text = text_of(graph)
    assert "click" not in text and "more" not in text


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if not (script := os.environ.get("MERMAID_JS")):
        pytest.skip("No Mermaid is here: name its mermaid.min.js in MERMAID_JS.")
    with chromium.browser() as started:
        opened = started.new_page()
        opened.set_content("<div id=out></div>")
        opened.add_script_tag(path=Path(script))
        yield opened


@pytest.mark.parametrize(
    "graph",
    [
        families.small(),
        families.everything(),
        families.large(300),
        pytest.param(families.large(5_000), marks=pytest.mark.slow),
        *(families.hostile(text) for text in _HOSTILE),
    ],
    ids=["small", "everything", "300", "5000", "string", "entities", "tag", "directive", "unicode"],
)
def test_mermaid_draws_it_with_the_settings_of_a_card(page: Page, graph: Graph) -> None:
    drawn = page.evaluate(
        """async (text) => {
          mermaid.initialize({startOnLoad: false, securityLevel: 'strict'});
          return (await mermaid.render('family', text)).svg;
        }""",
        text_of(graph),
    )
    assert "Syntax error" not in drawn and "Maximum text size" not in drawn
    assert "<script" not in drawn
    page.evaluate("(svg) => { document.getElementById('out').innerHTML = svg; }", drawn)
    labels = page.inner_text("#out")
    if len(graph.nodes) == 2:
        name = formats.look.title(list(graph.nodes.values())[1])
        assert re.sub(r"\\s+", "", name) in re.sub(r"\\s+", "", labels)
    elif len(graph.nodes) < 1_000:
        assert page.locator("#out g.node").count() == len(graph.nodes)
