"""Writes docs/licences.md: what each extra brings, in which version, under which licence.

Run in an environment that has all extras:  python scripts/licences.py [--check]
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
EXTRAS = ("merge", "gguf", "gptq", "exl2", "eval", "leaderboard", "ray", "runpod", "tree", "demo")
# Whoever ships these with a program of their own has duties that MIT, BSD and Apache do not know.
_COPYLEFT = ("GPL", "MPL", "EPL", "Mozilla", "Eclipse")
# Where the metadata says nothing, or the whole text: what the project's own LICENSE file says.
_READ_BY_HAND = {"torchao": "BSD-3-Clause", "word2number": "MIT"}

HEAD = """\
# Licences of the dependencies

Made by `python scripts/licences.py` from the environment that is tested; do not edit. Licences are as the
packages themselves declare them. llmcourse is Apache-2.0. Its wheel holds one work of others, dagre (MIT),
with the text of its licence; everything below is installed beside it by pip from the index, and not shipped.

"""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str
    home: str


def installed() -> dict[str, Package]:
    """What pip-licenses finds in this environment, by its canonical name."""
    command = (
        sys.executable,
        "-m",
        "piplicenses",
        "--from=mixed",
        "--format=json",
        "--with-urls",
        "--with-system",
    )
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Package] = {}
    # A package may lie on the path twice; the first is the one that is imported.
    for row in json.loads(listed):
        name = canonicalize_name(row["Name"])
        licence = _READ_BY_HAND.get(name, row["License"])
        if row["Version"] == version(name):
            found[name] = Package(name, row["Version"].partition("+")[0], licence, row["URL"])
    return found


def brought(extra: str) -> set[str]:
    """Canonical names of all that `pip install llmcourse[extra]` installs here; "" is the core."""
    seen: set[tuple[str, str]] = set()
    waiting = [("llmcourse", extra)]
    while waiting:
        name, chosen = waiting.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed here: install llmcourse[dev] first.")
        for requirement in map(Requirement, wanted):
            if requirement.marker is None or requirement.marker.evaluate({"extra": chosen}):
                next_name = canonicalize_name(requirement.name)
                waiting += [(next_name, extra) for extra in ("", *requirement.extras)]
    # pip is in every environment, in whatever version, and is not pinned either.
    return {name for name, _ in seen} - {"llmcourse", "pip"}


def table(names: set[str], packages: dict[str, Package]) -> str:
    rows = [packages[name] for name in sorted(names)]
    lines = [f"| {row.name} | {row.version} | {row.licence} | {link(row.home)} |" for row in rows]
    return "\n".join(["| package | version | licence | home |", "|---|---|---|---|", *lines, ""])


def link(home: str) -> str:
    """Empty where the metadata names none, or the index's own old pages, which are gone."""
    return f"<{home}>" if home.startswith("http") and "pythonhosted" not in home else ""


def page() -> str:
    """The whole text; each package is listed once under the core or under each extra that brings it."""
    packages, core = installed(), brought("")
    by_extra = {extra: brought(extra) - core for extra in EXTRAS}
    every = core.union(*by_extra.values())
    copyleft = {name for name in every if any(word in packages[name].licence for word in _COPYLEFT)}
    parts = [HEAD, "## With conditions on those who pass them on\n\n"]
    parts.append(
        "Using them asks nothing of a user. Whoever ships one of these with a program, in a container for\n"
        "instance, has to keep its licence's terms for it; llmcourse itself imports them and does not\n"
        "ship them.\n\n"
    )
    parts += [table(copyleft, packages), "\n## The core\n\n", table(core, packages)]
    for extra, names in by_extra.items():
        parts += [f"\n## The extra {extra}, beside the core\n\n", table(names, packages)]
    return "".join(parts)


def main() -> None:
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text() != text:
            sys.exit("docs/licences.md is not what is installed: run python scripts/licences.py.")
        return
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
