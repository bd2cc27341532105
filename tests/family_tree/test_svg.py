"""The SVG picture: well-formed, linked, titled, harmless, and right in Chromium, dark and light."""

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser

from llmcourse.core.errors import LibraryError, MissingError
from llmcourse.family_tree import formats
from llmcourse.family_tree.formats import graphviz
from llmcourse.family_tree.graph import Graph
from tests.family_tree import chromium, families

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def picture(graph: Graph) -> ElementTree.Element:
    return ElementTree.fromstring(formats.render(graph, "svg"))


def titles(root: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in root.iter(f"{_SVG}title")]


def test_the_models_link_to_their_pages() -> None:
    links = {link.get(f"{_XLINK}href") for link in picture(families.small()).iter(f"{_SVG}a")}
    assert {f"https://huggingface.co/{name}" for name in families.small().nodes} <= links


def test_titles_tell_what_is_known_and_no_name_of_graphviz() -> None:
    found = titles(picture(families.everything()))
    assert found[0] == "Family tree of demo/Family-7B"
    assert "gone/Deleted-7B\nstate: missing – It does not exist, or it is private." in found
    assert "merge 0.5; slerp; by mergekit_config.yml" in found
    assert not [title for title in found if title.startswith("n0")]


def test_names_are_text() -> None:
    words = {"".join(text.itertext()).strip() for text in picture(families.small()).iter(f"{_SVG}text")}
    assert {"demo/Merge-7B", "apache-2.0 · 7.24 B", "merge 0.6", "permissive"} <= words


@pytest.mark.parametrize(
    "text", ["</svg><script>alert(1)</script>", "javascript:alert(1)", "&#0;\x00\x0b", "]]>"]
)
def test_what_a_card_says_is_text(text: str) -> None:
    root = picture(families.hostile(text))
    assert not list(root.iter(f"{_SVG}script"))
    links = [link.get(f"{_XLINK}href", "") for link in root.iter(f"{_SVG}a")]
    assert all(link.startswith("https://x/") for link in links if link)


def test_it_names_no_place_but_the_models_pages() -> None:
    text = formats.render(families.small(), "svg").decode()
    assert "DOCTYPE" not in text and "@import" not in text and "url(" not in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


def test_it_follows_dark_and_light(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "family.svg"
    file.write_bytes(formats.render(families.everything(), "svg"))
    colour = "getComputedStyle(document.querySelector('.graph > polygon')).fill"
    page = browser.new_page(color_scheme="light")
    watch = chromium.Watch(page)
    page.goto(file.as_uri())
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(colour) == "rgb(13, 17, 23)"
    assert watch.errors == []
    page.close()


def test_every_name_fits_its_box_in_the_readers_font(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "family.svg"
    file.write_bytes(formats.render(families.everything(), "svg"))
    page = browser.new_page()
    page.goto(file.as_uri())
    outside = page.evaluate(
        """() => [...document.querySelectorAll('g.node')].flatMap((node) => {
          const box = node.querySelector('path, polygon').getBoundingClientRect();
          return [...node.querySelectorAll('text')].filter((text) => {
            const inner = text.getBoundingClientRect();
            return inner.left < box.left - 2 || inner.right > box.right + 2;
          }).map((text) => text.textContent);
        })"""
    )
    assert outside == []
    page.close()


def test_without_graphviz_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    for format in ("svg", "png"):
        with pytest.raises(MissingError) as caught:
            formats.check(format)
        assert caught.value.exit_code == 3
        assert "llmcourse[tree]" in caught.value.fix
    for format in ("tree", "json", "mermaid", "dot", "html"):
        formats.check(format)


def test_a_graphviz_that_fails_is_an_error_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphviz, "program", lambda: "/bin/false")
    with pytest.raises(LibraryError):
        formats.render(families.small(), "svg")


def test_a_system_graphviz_does_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    if (found := shutil.which("dot")) is None:
        pytest.skip("No Graphviz of the system is here.")
    monkeypatch.setattr(graphviz, "program", lambda: found)
    assert "merge 0.5; slerp; by mergekit_config.yml" in titles(picture(families.everything()))
