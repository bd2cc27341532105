"""Makes a release: checks, archives, a list of parts (SBOM), the tag; publishes with --publish only.

    python scripts/release.py 0.1.0             what would be done, and every check; changes nothing but dist/
    python scripts/release.py 0.1.0 --tag       makes the tag too
    python scripts/release.py 0.1.0 --publish   the tag, and the archives to the index

What ended half way is done again by the same command: a tag of this very commit is kept, and an index takes
the same archive twice. Both archives and the list are the same to the byte for the same commit.
The version stands in src/llmcourse/__init__.py and nowhere else. uv finds the right to publish by
itself, from CI's identity (trusted publishing) or UV_PUBLISH_TOKEN; no token is an argument of anything.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
BIN = Path(sys.prefix) / "bin"


def ran(*command: str | Path) -> str:
    """What `command` says; the release ends where it fails, with its own words."""
    environment = dict(os.environ)
    if "PIP_FIND_LINKS" in environment:
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"])
    # The time of all that is made is the commit's.
    dated = subprocess.run(("git", "log", "-1", "--format=%ct"), cwd=ROOT, text=True, capture_output=True)
    environment["SOURCE_DATE_EPOCH"] = dated.stdout.strip()
    ended = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, text=True, capture_output=True)
    if ended.returncode:
        refuse(f"`{' '.join(map(str, command))}` failed.", (ended.stdout + ended.stderr).strip()[-3000:])
    return ended.stdout.strip()


def refuse(what: str, fix: str) -> NoReturn:
    sys.exit(f"error: {what}\nfix: {fix}")


def check_tree(version: str) -> None:
    """Nothing uncommitted, one version, its dated section in the changelog, its tag on no other commit."""
    if ran("git", "status", "--porcelain"):
        refuse("There are changes that are not committed.", "Commit or stash them.")
    source = (ROOT / "src" / "llmcourse" / "__init__.py").read_text()
    if f'__version__ = "{version}"' not in source:
        refuse(f"src/llmcourse/__init__.py has another version than {version}.", "Set __version__ there.")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if not heading or not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        wanted = f"## [{version}] - {date.today()}"
        refuse(f"CHANGELOG.md has no dated section for {version}.", f"Head it `{wanted}`.")
    if tagged(version) and ran("git", "rev-list", "-1", f"v{version}") != ran("git", "rev-parse", "HEAD"):
        refuse(
            f"The tag v{version} is on another commit.", "Choose the next version, or check out that commit."
        )


def tagged(version: str) -> bool:
    return bool(ran("git", "tag", "--list", f"v{version}"))


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

    The wheel is installed by its name and not by its path, which would be written into the list, and before
    its dependencies without an index, which may have another file of that version.
    """
    listed = DIST / f"llmcourse-{version}.cdx.json"
    wanted = f"llmcourse[{extra}]=={version}" if extra else f"llmcourse=={version}"
    with TemporaryDirectory() as folder:
        python, project = Path(folder) / "bin" / "python", Path(folder) / "pyproject.toml"
        ran(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder)
        install = (BIN / "uv", "pip", "install", "--quiet", "--python", python)
        ran(*install, "--no-index", "--find-links", DIST, "--no-deps", f"llmcourse=={version}")
        ran(*install, "--constraint", ROOT / "constraints.txt", wanted)
        # What the list is of must have a version; our pyproject.toml has it from the source.
        text = (ROOT / "pyproject.toml").read_text()
        project.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'))
        form = ("--output-format", "JSON", "--spec-version", "1.6", "--output-reproducible", "--no-validate")
        ran(BIN / "cyclonedx-py", "environment", *form, "--pyproject", project, "-o", listed, python)
    parts = json.loads(listed.read_text())
    add_dagre(parts)
    text = json.dumps(parts, indent=2) + "\n"
    if wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        refuse("The list of parts is not valid CycloneDX 1.6.", str(wrong))
    listed.write_text(text)
    return listed


def add_dagre(parts: dict[str, Any]) -> None:
    """The one work of others that is inside the wheel, which no installed package tells of."""
    source = (ROOT / "src" / "llmcourse" / "family_tree" / "formats" / "html.py").read_text()
    found = re.search(r'^DAGRE_VERSION = "([\d.]+)"', source, re.M)
    if not found:
        refuse("family_tree/formats/html.py names no version of dagre.", "Set DAGRE_VERSION there.")
    whole = parts["metadata"]["component"]["bom-ref"]
    name = f"pkg:npm/%40dagrejs/dagre@{found[1]}"
    licence = {"license": {"id": "MIT", "acknowledgement": "declared"}}
    part = {"bom-ref": name, "purl": name, "name": "dagre", "group": "@dagrejs", "version": found[1]}
    parts["components"].append({**part, "type": "library", "licenses": [licence]})
    parts["dependencies"].append({"ref": name})
    (needed,) = (entry for entry in parts["dependencies"] if entry["ref"] == whole)
    needed["dependsOn"] = sorted([*needed["dependsOn"], name])


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
        if not tagged(wish.version):
            ran("git", "tag", "--annotate", f"v{wish.version}", "--message", f"llmcourse {wish.version}")
        print(f"tagged: v{wish.version}")
    if wish.publish:
        ran(BIN / "uv", "publish", *archives)
        print(f"published: llmcourse {wish.version}; push the tag: git push origin v{wish.version}")
    elif not wish.tag:
        print("dry run: no tag, nothing published")


if __name__ == "__main__":
    main()
