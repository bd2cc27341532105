"""What the archives hold: every file of the package, and nothing of the machine they were built on."""

import getpass
import re
import sys
import tarfile
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import llmcourse
from tests.package.installing import PYTHONS, ROOT, Built, done, tracked

# Folder in this tree -> folder in the wheel. What is tracked below the one is below the other.
PACKAGED = {"src/llmcourse/": "llmcourse/", "configs/": "llmcourse/configs/"}
# Tracked, but of no use to whoever gets the source archive.
LEFT_OUT = (".ci/",)
# One of each kind of data; should one kind be lost from the tree itself, its name is missed here.
DATA = (
    "llmcourse/py.typed",
    "llmcourse/merge/card.md.jinja",
    "llmcourse/run/report.html.jinja",
    "llmcourse/configs/merge/slerp.yaml",
    "llmcourse/autoeval/suites/tiny.yaml",
    "llmcourse/autoeval/tasks/tiny/text.jsonl",
    "llmcourse/autoeval/publishing/leaderboard.html.jinja",
    "llmcourse/family_tree/formats/page/page.css",
    "llmcourse/family_tree/formats/page/dagre.min.js",
    "llmcourse/family_tree/formats/page/dagre.LICENSE.txt",
)
EXTRAS = {
    "merge",
    "gguf",
    "gptq",
    "exl2",
    "eval",
    "leaderboard",
    "ray",
    "runpod",
    "tree",
    "demo",
    "all",
    "release",
    "dev",
    "docs",
}


def in_wheel(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def in_sdist(sdist: Path) -> dict[str, bytes]:
    with tarfile.open(sdist) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name.partition("/")[2]: file.read() for name, file in files.items() if file}


def headers(built: Built) -> dict[str, list[str]]:
    files = in_wheel(built.wheel)
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    message = HeaderParser().parsestr(files[name].decode())
    return {key: list(map(str, message.get_all(key, []))) for key in message}


def test_the_wheel_holds_the_packages_files_and_no_others(built: Built) -> None:
    wanted = {
        there + name.removeprefix(here)
        for here, there in PACKAGED.items()
        for name in tracked()
        if name.startswith(here)
    }
    held = {name for name in in_wheel(built.wheel) if ".dist-info/" not in name}
    assert held == wanted
    assert set(DATA) <= held


def test_the_source_archive_holds_what_is_tracked_and_no_more(built: Built) -> None:
    wanted = {name for name in tracked() if not name.startswith(LEFT_OUT)}
    assert set(in_sdist(built.sdist)) == wanted | {"PKG-INFO"}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_archive_names_a_place_of_this_machine_or_holds_a_token(built: Built, kind: str) -> None:
    files = in_wheel(built.wheel) if kind == "wheel" else in_sdist(built.sdist)
    places = {str(ROOT), sys.prefix, f"/home/{getpass.getuser()}/"}
    traces = re.compile("|".join([*map(re.escape, sorted(places)), r"\bhf_[A-Za-z0-9]{34}\b"]).encode())
    assert [name for name, content in files.items() if traces.search(content)] == []


def test_the_texts_of_the_licences_come_along(built: Built) -> None:
    texts = [name for name in in_wheel(built.wheel) if ".dist-info/licenses/" in name]
    assert {Path(name).name for name in texts} == {"LICENSE", "dagre.LICENSE.txt"}


def test_the_version_is_the_programs_own(built: Built) -> None:
    assert headers(built)["Version"] == [llmcourse.__version__]
    assert f"-{llmcourse.__version__}-" in built.wheel.name


def test_each_extra_is_offered_and_nothing_is_fetched_from_an_address(built: Built) -> None:
    found = headers(built)
    assert set(found["Provides-Extra"]) == EXTRAS
    assert [text for text in found["Requires-Dist"] if Requirement(text).url] == []


def test_the_metadata_claims_the_pythons_that_are_tested(built: Built) -> None:
    found = headers(built)
    versions = [re.fullmatch(r".* :: (3\.\d+)", line) for line in found["Classifier"]]
    assert [match[1] for match in versions if match] == list(PYTHONS)
    assert (found["Requires-Python"], found["License-Expression"]) == ([">=3.11"], ["Apache-2.0"])


def test_twine_finds_nothing_wrong_and_the_readme_renders(built: Built) -> None:
    said = done(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel)
    assert said.count("PASSED") == 2
