"""Makes the pictures of the documentation: `python -m tests.family_tree.pictures`, needs a Chromium."""

from pathlib import Path
from tempfile import TemporaryDirectory

from llmcourse.family_tree import formats
from tests.family_tree import chromium, families

_IMAGES = Path(__file__).parents[2] / "docs" / "images"
_WINDOW = {"width": 1440, "height": 600}


def main() -> None:
    family = families.shown()
    _IMAGES.mkdir(parents=True, exist_ok=True)
    (_IMAGES / "family-tree.svg").write_bytes(formats.render(family, "svg"))
    (_IMAGES / "family-tree-graphviz.png").write_bytes(formats.render(family, "png", "relation"))
    with TemporaryDirectory() as folder, chromium.browser() as browser:
        file = Path(folder) / "family.html"
        file.write_bytes(formats.render(family, "html"))
        page = browser.new_page(viewport=_WINDOW, device_scale_factor=2, color_scheme="light")  # type: ignore[arg-type]
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")
        node = page.evaluate("familyTree.indexOf('heron/Heron-7B-ties')")
        place = page.evaluate("(node) => familyTree.placeOf(node)", node)
        page.mouse.click(place["x"], place["y"])
        page.mouse.move(10, 590)
        page.screenshot(path=_IMAGES / "family-tree.png")


if __name__ == "__main__":
    main()
