"""The site is built of every page, and every link of it and of the README leads somewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, script

links = script("links")
ZENSICAL = Path(sys.executable).with_name("zensical")
needs_lychee = pytest.mark.skipif(
    links.lychee() is None, reason="lychee is not installed: pip install 'llmcourse[docs]'"
)


def test_the_site_holds_every_page() -> None:
    listed = re.findall(r"- ([\w./-]+\.md)", (ROOT / "mkdocs.yml").read_text())
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@needs_lychee
@pytest.mark.skipif(not ZENSICAL.exists(), reason="zensical is not installed: pip install 'llmcourse[docs]'")
def test_the_site_is_built_without_a_warning_and_all_its_links_lead_somewhere(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    command = [str(ZENSICAL), "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    fine, text = links.of_site(tmp_path / "docs-out")
    assert fine, text


@needs_lychee
def test_links_of_the_pages_beside_the_code_lead_somewhere() -> None:
    fine, text = links.report(ROOT, *links.PAGES)
    assert fine, text


@needs_lychee
def test_what_is_missing_or_outside_of_the_site_is_found(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").touch()
    (site / "there.html").write_text('<h2 id="here"></h2>')
    (site / "index.html").write_text(
        '<a href="there.html#here"></a><a href="https://example.org/x"></a><a href="#nowhere"></a>'
        '<a href="there.html#gone"></a><a href="gone.html"></a><img src="gone.png">'
        '<a href="../outside.html"></a>'
    )
    fine, text = links.of_site(site)
    assert not fine
    found = re.findall(r"\[ERROR\] file://\S+?/([\w.]+(?:#\w+)?) ", text)
    assert sorted(found) == [
        "gone.html", "gone.png", "index.html#nowhere", "outside.html", "there.html#gone",
    ]  # fmt: skip
