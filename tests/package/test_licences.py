"""docs/licences.md says what is pinned, for each extra."""

import re
import subprocess
import sys

import pytest

from tests.package.installing import ROOT
from tests.package.test_contents import EXTRAS

PAGE = (ROOT / "docs" / "licences.md").read_text()
ROWS = re.findall(r"^\| ([a-z0-9-]+) \| (\d\S*) \| (.*?) \| .*\|$", PAGE, re.MULTILINE)
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())


def test_each_version_listed_is_the_one_that_is_pinned() -> None:
    assert len(ROWS) > 100
    assert {(name, version) for name, version, _ in ROWS if PINS.get(name) != version} == set()


def test_each_licence_is_known_and_short() -> None:
    assert [row for row in ROWS if row[2] in ("", "UNKNOWN") or len(row[2]) > 120] == []


@pytest.mark.parametrize("extra", sorted(EXTRAS - {"all", "dev", "docs", "release"}))
def test_each_extra_is_listed(extra: str) -> None:
    assert f"\n## The extra {extra}, beside the core\n" in PAGE


@pytest.mark.slow
def test_the_page_is_what_is_installed() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "licences.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
