"""Which licence a merge may carry."""

import pytest

from llmcourse.core.licences import KNOWN, Licence, combine


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (("mit", "mit"), "mit"),
        (("mit", "apache-2.0"), "apache-2.0"),
        (("apache-2.0", "gpl-3.0"), "gpl-3.0"),
        (("apache-2.0", "llama3"), "llama3"),
        (("apache-2.0", "cc-by-nc-4.0"), "cc-by-nc-4.0"),
        (("llama2", "cc-by-nc-4.0"), "cc-by-nc-4.0"),
        (("gpl-3.0", "lgpl-3.0", "agpl-3.0"), "agpl-3.0"),
        (("cc-by-nc-4.0", "cc-by-nc-sa-4.0"), "cc-by-nc-sa-4.0"),
        (("cc-by-sa-4.0", "cc-by-sa-3.0"), "cc-by-sa-4.0"),
        (("cc-by-nc-2.0", "mit", "cc-by-nc-4.0"), "cc-by-nc-4.0"),
    ],
)
def test_the_most_restrictive_licence_holds(licences: tuple[str, ...], expected: str) -> None:
    forward = combine({f"org/{index}": name for index, name in enumerate(licences)})
    backward = combine({f"org/{index}": name for index, name in enumerate(reversed(licences))})
    assert forward == backward == Licence(expected)


@pytest.mark.parametrize(
    "licences",
    [
        {"org/a": "llama3", "org/b": "gemma"},
        {"org/a": "gpl-3.0", "org/b": "cc-by-sa-4.0"},
        {"org/a": "llama2", "org/b": "llama4"},
        {"org/a": "gpl-3.0", "org/b": "cc-by-nc-4.0"},
        {"org/a": "gpl-3.0", "org/b": "llama3.1", "org/c": "mit"},
        {"org/a": "gpl-2.0", "org/b": "apache-2.0"},
        {"org/a": "cc-by-nc-4.0", "org/b": "apple-amlr"},
    ],
)
def test_licences_that_conflict_give_other_and_are_named(licences: dict[str, str]) -> None:
    licence = combine(licences)
    assert licence.name == "other"
    assert licence.warning.startswith("These licences conflict: ")
    assert "org/a" in licence.warning
    assert "org/b" in licence.warning


@pytest.mark.parametrize("silent", [None, "unknown"])
def test_a_parent_without_a_licence_makes_the_result_other(silent: str | None) -> None:
    licence = combine({"org/a": "mit", "org/b": silent})
    assert licence == Licence("other", "org/b states no licence, so the result's is unknown.")


@pytest.mark.parametrize("name", ["other", "my-own-terms"])
def test_terms_of_their_own_are_inherited_and_said(name: str) -> None:
    licence = combine({"org/a": "mit", "org/b": name})
    assert licence.name == "other"
    assert licence.warning == f"org/b ({name}) has terms of its own that the result inherits."


def test_a_licence_that_forbids_derivatives_is_said() -> None:
    licence = combine({"org/a": "cc-by-nc-nd-4.0", "org/b": "mit"})
    assert licence.name == "cc-by-nc-nd-4.0"
    assert licence.warning == "org/a (cc-by-nc-nd-4.0) forbids sharing derivatives such as this one."


def test_other_and_unknown_are_ids_that_the_hub_takes() -> None:
    assert {"other", "unknown", "apache-2.0"} <= KNOWN


def test_of_many_models_only_licences_that_conflict_are_named_and_shortly() -> None:
    licences: dict[str, str | None] = {f"org/m{number}": "llama3" for number in range(40)}
    licences |= {"org/g": "gemma", "org/free": "mit"}
    warning = combine(licences).warning
    assert warning == "These licences conflict: org/m0, org/m1, org/m2 and 37 more (llama3), org/g (gemma)."
    mixed = combine({"org/a": "gemma", "org/b": "gpl-3.0", "org/c": "mit"}).warning
    assert mixed == "These licences conflict: org/b (gpl-3.0), org/a (gemma)."


def test_of_many_models_without_a_licence_three_are_named() -> None:
    warning = combine({f"org/m{number}": None for number in range(5)}).warning
    assert warning == "org/m0, org/m1, org/m2 and 2 more state no licence, so the result's is unknown."
