"""The page in a real Chromium, driven as people do: pointer, keys, search."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from llmcourse.family_tree import formats
from llmcourse.family_tree.graph import Graph
from tests.family_tree import chromium, families

LEFT, RIGHT = 0, 1


def wait_until(is_so: Callable[[], bool]) -> None:
    """Playwright's own waiting evaluates text as a script, which the page rightly forbids."""
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end, "it has not become so"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.browser() as started:
        yield started


@dataclass
class Opened:
    """A family in a window of Chromium."""

    page: Page
    watch: chromium.Watch

    def index(self, name: str) -> int:
        found: int = self.page.evaluate("(name) => familyTree.indexOf(name)", name)
        assert found >= 0, name
        return found

    def is_visible(self, name: str) -> bool:
        return bool(self.page.evaluate("(node) => familyTree.isVisible(node)", self.index(name)))

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("familyTree.state()")
        return found

    def place(self, name: str) -> tuple[float, float]:
        found = self.page.evaluate("(node) => familyTree.placeOf(node)", self.index(name))
        return found["x"], found["y"]

    def click(self, name: str) -> None:
        self.page.mouse.click(*self.place(name))

    def click_chip(self, name: str, side: int) -> None:
        chip = "([node, side]) => familyTree.chipOf(node, side)"
        found = self.page.evaluate(chip, [self.index(name), side])
        self.page.mouse.click(found["x"], found["y"])

    def facts(self) -> str:
        return self.page.inner_text("#facts")

    def spoken(self) -> str:
        return str(
            self.page.evaluate(
                "document.getElementById(document.getElementById('map').getAttribute('aria-activedescendant'))"
                ".getAttribute('aria-label')"
            )
        )


@pytest.fixture
def opened(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """The family that `request.param` makes, or `everything()`; what went wrong in the page is an error."""
    graph: Graph = getattr(request, "param", families.everything)()
    file = tmp_path / "family.html"
    file.write_bytes(formats.render(graph, "html"))
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    watch = chromium.Watch(page)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    yield Opened(page, watch)
    page.close()
    assert watch.errors == []
    assert [url for url in watch.requests if not url.startswith(("file:", "blob:"))] == []


def test_all_of_a_small_family_is_seen_at_once_and_nothing_overlaps(opened: Opened) -> None:
    assert opened.state()["visible"] == opened.state()["count"] == 15
    shown = opened.page.evaluate("familyTree.shown()")
    for place, one in enumerate(shown):
        for other in shown[place + 1 :]:
            apart = abs(one["x"] - other["x"]) >= one["width"] or abs(one["y"] - other["y"]) >= one["height"]
            assert apart, (one, other)
    for name in ("lab/Further-7B", "quants/Family-7B-GGUF"):
        x, y = opened.place(name)
        assert 0 < x < 1400 and 0 < y < 900


@pytest.mark.parametrize("opened", [families.everything, families.merged_of_many], indirect=True)
def test_no_two_words_on_edges_cover_each_other(opened: Opened) -> None:
    labels = opened.page.evaluate("familyTree.labels()")
    assert len(labels) >= 10
    for place, one in enumerate(labels):
        for other in labels[place + 1 :]:
            beside = one["right"] < other["left"] or other["right"] < one["left"]
            assert beside or abs(one["y"] - other["y"]) >= 13, (one, other)


def test_parents_stand_left_of_their_children(opened: Opened) -> None:
    for edge in families.everything().edges:
        if not edge.closes_cycle and "#" not in edge.child:
            assert opened.place(edge.parent)[0] < opened.place(edge.child)[0]


def test_a_click_tells_the_facts_and_the_relatives_are_links(opened: Opened) -> None:
    opened.click("demo/Right-7B")
    assert opened.state()["selected"] == opened.index("demo/Right-7B")
    facts = opened.facts()
    assert "cc-by-nc-4.0" in facts and "7.24 B" in facts and "12,345" in facts
    assert "MADE FROM (3)" in facts.upper() and "lab/Gated-7B" in facts
    link = opened.page.get_attribute("#facts h2 a", "href")
    assert link == "https://huggingface.co/demo/Right-7B"
    opened.page.click("#facts button:has-text('demo/Adapter')")
    assert opened.state()["selected"] == opened.index("demo/Adapter")


def test_a_model_that_could_not_be_read_says_why(opened: Opened) -> None:
    opened.click("gone/Deleted-7B")
    assert "It does not exist, or it is private." in opened.facts()
    assert opened.page.query_selector("#facts h2 a") is None


def test_the_pointer_over_a_model_shows_its_facts_and_leaves_with_it(opened: Opened) -> None:
    opened.page.mouse.move(*opened.place("lab/Gated-7B"))
    assert "Its files need an accepted licence." in opened.page.inner_text("#tip")
    opened.page.mouse.move(700, 880)
    assert not opened.page.is_visible("#tip")


def test_a_chip_closes_what_is_behind_it_and_opens_it_again(opened: Opened) -> None:
    before = opened.place("demo/Left-7B")
    opened.click_chip("demo/Left-7B", LEFT)
    assert not opened.is_visible("lab/Base-7B") and not opened.is_visible("lab/Further-7B")
    assert opened.is_visible("lab/Gated-7B")
    assert opened.place("demo/Left-7B") == pytest.approx(before, abs=0.5)
    opened.click_chip("demo/Left-7B", LEFT)
    assert opened.is_visible("lab/Further-7B")


def test_a_closed_family_takes_less_room(opened: Opened) -> None:
    def height() -> float:
        shown = [model["y"] for model in opened.page.evaluate("familyTree.shown()")]
        return float(max(shown) - min(shown))

    tall = height()
    opened.page.click("#close-all")
    assert opened.state()["visible"] < 15
    assert height() < tall
    opened.page.click("#open-all")
    assert opened.state()["visible"] == 15
    assert height() == pytest.approx(tall)


def test_search_finds_by_name_licence_and_reason_and_opens_the_way(opened: Opened) -> None:
    opened.page.click("#close-all")
    assert not opened.is_visible("lab/Silent-7B")
    opened.page.keyboard.press("/")
    opened.page.keyboard.type("503")
    assert opened.page.inner_text("#found [aria-selected=true]").startswith("lab/Silent-7B")
    opened.page.keyboard.press("Enter")
    assert opened.is_visible("lab/Silent-7B")
    assert opened.state()["selected"] == opened.index("lab/Silent-7B")
    assert opened.page.evaluate("document.activeElement.id") == "map"
    opened.page.fill("#search", "zzz")
    assert "no model of that name" in opened.page.inner_text("#found")


def test_the_page_is_used_by_keys_alone(opened: Opened) -> None:
    keys = opened.page.keyboard
    for _ in range(12):
        keys.press("Tab")
        if opened.page.evaluate("document.activeElement.id") == "map":
            break
    assert opened.page.evaluate("document.activeElement.id") == "map"
    assert opened.spoken().startswith("demo/Family-7B, apache-2.0 · 7.24 B, 2 parents, 3 children")
    keys.press("ArrowLeft")
    parent = opened.spoken()
    assert parent.startswith(("demo/Left-7B", "demo/Right-7B"))
    keys.press("ArrowDown" if parent.startswith("demo/Right") else "ArrowUp")
    assert opened.spoken() != parent
    keys.press("Enter")
    assert opened.state()["selected"] == opened.state()["current"]
    shown = opened.state()["visible"]
    keys.press(" ")
    assert opened.state()["visible"] < shown
    keys.press(" ")
    assert opened.state()["visible"] == shown
    keys.press("Escape")
    assert opened.state()["selected"] == -1
    keys.press("Home")
    assert opened.spoken().startswith("demo/Family-7B")


def test_the_focus_is_seen(opened: Opened) -> None:
    before = opened.page.screenshot()
    opened.page.focus("#map")
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowLeft")
    assert opened.page.screenshot() != before
    assert opened.page.evaluate("getComputedStyle(document.getElementById('map')).outlineStyle") == "solid"


def test_wheel_buttons_and_keys_zoom_and_a_drag_moves(opened: Opened) -> None:
    scale = opened.state()["scale"]
    x, y = opened.place("demo/Family-7B")
    opened.page.mouse.move(x, y)
    opened.page.mouse.wheel(0, -300)
    wait_until(lambda: opened.state()["scale"] > scale)
    assert opened.place("demo/Family-7B") == pytest.approx((x, y), abs=1)  # what is below the pointer stays
    opened.page.mouse.down()
    opened.page.mouse.move(x + 120, y + 50, steps=4)
    opened.page.mouse.up()
    assert opened.place("demo/Family-7B") == pytest.approx((x + 120, y + 50), abs=1)
    assert opened.state()["selected"] == -1
    larger = opened.state()["scale"]
    opened.page.click("#zoom-out")
    assert opened.state()["scale"] < larger
    opened.page.focus("#map")
    opened.page.keyboard.press("0")
    assert opened.state()["scale"] == pytest.approx(scale)


def test_colours_follow_the_choice_and_the_legend_says_them(opened: Opened) -> None:
    legend = opened.page.inner_text("#legend")
    assert (
        "permissive (4)" in legend and "non-commercial (1)" in legend and "gated, or not readable" in legend
    )
    before = opened.page.screenshot()
    opened.page.select_option("#colour-by", "relation")
    legend = opened.page.inner_text("#legend")
    assert "merge (2)" in legend and "quantized (2)" in legend
    assert opened.page.screenshot() != before


def test_dark_and_light_follow_the_system_until_one_is_chosen(opened: Opened) -> None:
    page = opened.page
    theme = "document.documentElement.dataset.theme"
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(theme) == "light"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: page.evaluate(theme) == "dark")
    assert page.evaluate(colour) != light
    page.click("#theme")
    assert page.evaluate(theme) == "light"


def test_the_whole_family_and_what_is_worth_knowing_are_told(opened: Opened) -> None:
    facts = opened.facts()
    assert "lab/Base-7B 50.0%" in facts and "3 generations back" in facts
    opened.page.click("#facts .findings button >> nth=0")
    assert opened.state()["selected"] == opened.index("gone/Deleted-7B")


@pytest.mark.parametrize(
    "opened",
    [
        lambda: families.hostile("</script><img src=x onerror=alert(1)>"),
        lambda: families.hostile("`${alert(1)}`"),
    ],
    indirect=True,
)
def test_what_a_card_says_is_never_run(opened: Opened) -> None:
    assert opened.state()["count"] == 2
    opened.click("demo/Root")
    opened.page.mouse.move(*opened.place("demo/Root"))
    opened.page.fill("#search", "alert")
    assert "alert(1)" in opened.page.inner_text("#found")
    assert opened.page.query_selector("img") is None


@pytest.mark.parametrize("opened", [lambda: families.chain(300)], indirect=True)
def test_a_long_chain_is_laid_out(opened: Opened) -> None:
    opened.page.click("#open-all")
    assert opened.state()["visible"] == 300


@pytest.mark.parametrize("opened", [lambda: families.large(5_000)], indirect=True)
def test_five_thousand_models_are_opened_selected_and_closed(opened: Opened) -> None:
    """How fast they answer, bench/family_tree_page.py measures."""
    page, root = opened.page, "user0/Model-0-7B-Instruct-v0.0"
    page.click("#open-all")
    assert opened.state()["visible"] == 5_000
    opened.click(root)
    assert opened.state()["selected"] == opened.index(root)
    opened.click_chip(root, RIGHT)
    assert opened.state()["visible"] < 5_000
    opened.click_chip(root, RIGHT)
    assert opened.state()["visible"] == 5_000


def test_the_page_keeps_its_promises_on_a_small_window(opened: Opened) -> None:
    opened.page.set_viewport_size({"width": 420, "height": 800})
    assert re.search("permissive", opened.page.inner_text("#legend"))
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 420
    assert opened.page.evaluate("document.getElementById('picture').clientHeight") > 200
