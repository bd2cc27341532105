"""How fast the family tree's page answers in Chromium: from a click's event to the frame that shows it.

5,000 models, all of them open; the limit is a tenth of a second. Prints median and slowest of each kind.

Usage: python bench/family_tree_page.py [--runs N] [--folder DIR]
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from measure import main
from playwright.sync_api import Page
from tests.family_tree import chromium, families

from llmcourse.family_tree import formats

_MODELS = 5_000
_LIMIT_MS = 100
_CLICKS = 5  # of each kind, in each run
_ROOT = "user0/Model-0-7B-Instruct-v0.0"
# From the event's own time to when the frame that shows its effect has been drawn: what is queued in the
# animation frame after the page's own drawing runs once that frame is handed over.
_STOPWATCH = """() => {
  window.answers = [];
  for (const type of ['pointerup', 'keydown']) window.addEventListener(type, (event) => {
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.answers.push(performance.now() - event.timeStamp);
      channel.port2.postMessage(null);
    });
  }, true);
}"""


def _measure(folder: Path, runs: int) -> None:
    file = folder / "family.html"
    file.write_bytes(formats.render(families.large(_MODELS), "html"))
    times: dict[str, list[float]] = {}
    with chromium.browser() as browser:
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            for kind, found in _answers(page).items():
                times.setdefault(kind, []).extend(found)
            page.close()
    print(f"{_MODELS} models, limit {_LIMIT_MS} ms:")
    for kind, found in times.items():
        print(f"  {kind:18} median {median(found):4.0f} ms, slowest {max(found):4.0f} ms of {len(found)}")


def _answers(page: Page) -> dict[str, list[float]]:
    page.evaluate(_STOPWATCH)
    page.click("#open-all")
    root = page.evaluate("(name) => familyTree.indexOf(name)", _ROOT)
    found = {
        "select, all seen": _timed(page, lambda: _click(page, "placeOf(node)", root)),
        "close and open": _timed(page, lambda: _click(page, "chipOf(node, 1)", root)),
        "a key": _timed(page, lambda: page.keyboard.press("ArrowRight")),
    }
    page.click("#open-all")
    page.evaluate("(node) => { familyTree.open(node); }", 900)
    found["select, near"] = _timed(page, lambda: _click(page, "placeOf(node)", 900))
    return found


def _click(page: Page, place: str, node: int) -> None:
    at = page.evaluate(f"(node) => familyTree.{place}", node)
    page.mouse.click(at["x"], at["y"])


def _timed(page: Page, act: Callable[[], None]) -> list[float]:
    page.evaluate("window.answers.length = 0")
    for _ in range(_CLICKS):
        act()
        page.wait_for_timeout(60)
    found: list[float] = page.evaluate("window.answers")
    if len(found) < _CLICKS:
        raise RuntimeError(f"of {_CLICKS} clicks {len(found)} were answered")
    return found


if __name__ == "__main__":
    main(__doc__, _measure)
