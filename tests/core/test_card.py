"""The head of a model card: what the Hub would refuse is refused here first."""

import pytest
import yaml
from pydantic import ValidationError

from llmcourse.core.card import Card, CardMetadata, cell, code, fence, render
from llmcourse.core.card_head import card_metadata
from llmcourse.core.licences import KNOWN
from llmcourse.testing.hub.licenses import LICENSE_IDS

VALUES = {
    "title": "T", "is_moe": False, "stages": 1, "parents": [], "method": "M", "donor": "D",
    "licence_warning": "", "seed": None, "rows": [], "recipe": "a: 1", "fence": "```", "place": "me/x",
    "versions": {}, "not_finite": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["/models/a", "folder", "a/b/c", "https://huggingface.co/a/b", "a/b@main", "C:\\a\\b", "", "a/b c"],
)
def test_only_repository_ids_are_base_models(name: str) -> None:
    with pytest.raises(ValidationError, match="is no Hub id"):
        CardMetadata(base_model=["org/good", name])


def test_a_base_model_is_listed_once_and_in_order() -> None:
    assert CardMetadata(base_model=["o/b", "o/a", "o/b"]).base_model == ["o/b", "o/a"]


def test_a_licence_the_hub_does_not_know_is_refused() -> None:
    with pytest.raises(ValidationError, match="'apache' is no licence the Hub knows"):
        CardMetadata(license="apache")


def test_every_licence_of_the_hub_is_known() -> None:
    assert LICENSE_IDS <= KNOWN


def test_unknown_keys_of_the_head_are_refused() -> None:
    with pytest.raises(ValidationError):
        CardMetadata.model_validate({"licence": "mit"})


def test_what_is_empty_is_left_out_of_the_head() -> None:
    text = render(Card(CardMetadata(license="mit", base_model_relation="merge"), VALUES), "llmcourse.merge")
    head = yaml.safe_load(text.split("---")[1])
    assert head == {"license": "mit", "library_name": "transformers"}


def test_the_head_that_is_written_is_the_head_that_is_read() -> None:
    metadata = CardMetadata(license="mit", language=["de"], base_model=["o/a"], tags=["merge", "o/a"])
    text = render(Card(metadata, VALUES), "llmcourse.merge")
    assert text.startswith("---\n")
    assert card_metadata(text) == {
        "license": "mit",
        "language": ["de"],
        "library_name": "transformers",
        "base_model": ["o/a"],
        "tags": ["merge", "o/a"],
    }


def test_a_value_missing_from_a_template_is_an_error_and_not_a_gap() -> None:
    values = {key: value for key, value in VALUES.items() if key != "donor"}
    with pytest.raises(Exception, match="donor"):
        render(Card(CardMetadata(), values), "llmcourse.merge")


@pytest.mark.parametrize(
    ("text", "expected"), [("a: 1", "```"), ("a ``` b", "````"), ("`````", "``````"), ("a `b` c", "```")]
)
def test_a_fence_is_longer_than_any_inside(text: str, expected: str) -> None:
    assert fence(text) == expected


@pytest.mark.parametrize(
    "text", ["", "# No head", "text\n---\na: 1\n---\n", "---\na: [\n---\n", "---\n- a\n---\n"]
)
def test_a_card_without_a_readable_head_tells_nothing(text: str) -> None:
    assert card_metadata(text) == {}


def test_a_name_stays_in_its_cell_and_in_its_code() -> None:
    assert cell("a|b\n c") == "a\\|b c"
    assert code("a.txt") == "`a.txt`"
    assert code("a`b``c") == "``` a`b``c ```"
