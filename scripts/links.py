"""Check every link, anchor and image: of the built site, and of the pages that a forge shows as they are.

zensical knows links between pages only, so lychee reads what it built, in a folder where nothing else lies: a
link that leaves the site leads nowhere. Other sites are not asked, so the check needs no network.

Usage: python scripts/links.py SITE
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def lychee() -> str | None:
    """The program, of this environment first."""
    return shutil.which("lychee", path=_PROGRAMS)


def report(folder: Path, *pages: str) -> tuple[bool, str]:
    """Whether all links of `pages` (patterns within `folder`) lead somewhere, and what lychee says."""
    program = lychee()
    if program is None:
        raise FileNotFoundError("lychee is not installed: pip install 'llmcourse[docs]'")
    options = ("--offline", "--include-fragments", "--no-progress", "--root-dir", str(folder))
    done = subprocess.run(
        [program, *options, *pages], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr


def of_site(site: Path) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as apart:
        alone = Path(apart).resolve() / "site"
        shutil.copytree(site, alone)
        return report(alone, "**/*.html")


def main(site: Path) -> int:
    results = [of_site(site), report(ROOT, *PAGES)]
    for _, text in results:
        print(text.strip(), file=sys.stderr)
    return 0 if all(fine for fine, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
