"""Makes a release: checks, archives, a list of parts (SBOM), the tag; publishes with --publish only.

    python scripts/release.py 0.1.0             what would be done, and every check; changes nothing but dist/
    python scripts/release.py 0.1.0 --tag       makes the tag too
    python scripts/release.py 0.1.0 --publish   the tag, and the archives to the index

The version stands in src/llmcourse/__init__.py and nowhere else. uv finds the right to publish by
itself, from CI's identity (trusted publishing) or UV_PUBLISH_TOKEN; no token is an argument of anything.
"""

import argparse
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
BIN = Path(sys.prefix) / "bin"


def ran(*command: str | Path) -> str:
    """What `command` says; the release ends where it fails, with its own words."""
    environment = dict(os.environ)
    if "PIP_FIND_LINKS" in environment:
        environment["UV_FIND_LINKS"] = environment["PIP_FIND_LINKS"]
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, text=True, capture_output=True)
    if ended.returncode:
        refuse(f"`{' '.join(map(str, command))}` failed.", (ended.stdout + ended.stderr).strip()[-3000:])
    return ended.stdout.strip()


def refuse(what: str, fix: str) -> None:
    sys.exit(f"error: {what}\nfix: {fix}")


def check_tree(version: str) -> None:
    """Nothing uncommitted, the one version is this one, the changelog has its dated section, no such tag."""
    if ran("git", "status", "--porcelain"):
        refuse("There are changes that are not committed.", "Commit or stash them.")
    source = (ROOT / "src" / "llmcourse" / "__init__.py").read_text()
    if f'__version__ = "{version}"' not in source:
        refuse(f"src/llmcourse/__init__.py has another version than {version}.", "Set __version__ there.")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if not heading or not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        wanted = f"## [{version}] - {date.today()}"
        refuse(f"CHANGELOG.md has no dated section for {version}.", f"Head it `{wanted}`.")
    if ran("git", "tag", "--list", f"v{version}"):
        refuse(f"The tag v{version} exists.", "Choose the next version.")


def build() -> list[Path]:
    """Archives in dist/, the wheel made from the source archive; both as twine wants them."""
    for old in DIST.glob("llmcourse-*"):
        old.unlink()
    ran(BIN / "uv", "build", "--quiet", "--out-dir", DIST)
    archives = sorted(DIST.glob("llmcourse-*"))
    ran(BIN / "twine", "check", "--strict", *archives)
    return archives


def list_parts(version: str, extra: str) -> Path:
    """The SBOM (CycloneDX 1.6, JSON) of the wheel with all that one of its extras brings, validated.

    The wheel is installed by its name and not by its path, which would be written into the list.
    """
    listed = DIST / f"llmcourse-{version}.cdx.json"
    wanted = f"llmcourse[{extra}]=={version}" if extra else f"llmcourse=={version}"
    with TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        ran(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder)
        constraints = ("--constraint", ROOT / "constraints.txt", "--find-links", DIST)
        ran(BIN / "uv", "pip", "install", "--quiet", "--python", python, *constraints, wanted)
        form = ("--output-format", "JSON", "--spec-version", "1.6", "--output-reproducible", "--validate")
        ran(BIN / "cyclonedx-py", "environment", *form, "--output-file", listed, python)
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a release; a dry run unless told otherwise.")
    parser.add_argument("version")
    parser.add_argument("--tag", action="store_true", help="make the tag")
    parser.add_argument("--publish", action="store_true", help="make the tag and publish the archives")
    parser.add_argument("--tested", action="store_true", help="the tests were green on this commit (CI)")
    parser.add_argument(
        "--sbom-extra", default="all", help="the extra whose parts are listed; '' for the core"
    )
    wish = parser.parse_args()

    check_tree(wish.version)
    if not wish.tested:
        print("make test …", flush=True)
        ran("make", "test")
    ran(sys.executable, ROOT / "scripts" / "licences.py", "--check")
    archives = build()
    parts = list_parts(wish.version, wish.sbom_extra)
    print(*(f"made: {path.relative_to(ROOT)}" for path in (*archives, parts)), sep="\n")
    if wish.tag or wish.publish:
        ran("git", "tag", "--annotate", f"v{wish.version}", "--message", f"llmcourse {wish.version}")
        print(f"tagged: v{wish.version}")
    if wish.publish:
        ran(BIN / "uv", "publish", *archives)
        print(f"published: llmcourse {wish.version}; push the tag: git push origin v{wish.version}")
    elif not wish.tag:
        print("dry run: no tag, nothing published")


if __name__ == "__main__":
    main()
