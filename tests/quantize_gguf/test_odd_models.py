"""Models whose files do not fit together, or are not as the converter wants them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest

from llmcourse.testing.models import Family
from tests.quantize_gguf.builders import answers, plan_of, said
from tests.quantize_gguf.conversions import Conversions, running


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversions]:
    with running(tmp_path_factory.mktemp("odd")) as started:
        yield started


@pytest.fixture
def tiny(tmp_path: Path, family: Family) -> Path:
    return Path(shutil.copytree(family.base, tmp_path / "tiny"))


CARDS = {
    "no YAML": (b"---\nlicense: [mit\nbase_model: x: y\n---\n", "line 3"),
    "Latin-1": (b"---\nlicense: mit\nauthor: M\xfcller\n---\n", "not written in UTF-8"),
    "a value that no GGUF holds": (b"---\nlicense: {a: 1}\n---\n", "a value of the wrong kind"),
    "an origin that is none": (b"---\nbase_model: [{name: [1, {a: b}]}]\n---\n", "a value of the wrong kind"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_cannot_be_read_is_passed_over(name: str, conversions: Conversions, tiny: Path) -> None:
    content, problem = CARDS[name]
    (tiny / "README.md").write_bytes(content)
    assert problem in conversions.run("convert", tiny, metadata={"name": "mine"})["card_problem"]
    head = gguf.GGUFReader(conversions.converted).fields
    assert head["general.name"].contents() == "mine" and "general.license" not in head


def test_a_card_that_can_be_read_is_in_the_file(conversions: Conversions, tiny: Path) -> None:
    (tiny / "README.md").write_text("---\nlicense: mit\ntags: [a]\n---\n")
    assert conversions.run("convert", tiny)["card_problem"] is None
    assert gguf.GGUFReader(conversions.converted).fields["general.license"].contents() == "mit"


def test_the_plan_names_the_card_that_was_passed_over() -> None:
    plan = plan_of("{model: org/tiny, types: [F16]}", answers=answers() | {"card_problem": "it is torn"})
    assert any(
        line.startswith("README.md: The model's card is passed over, because it is torn")
        for line in said(plan, "warn")
    )
    assert not said(plan)
