"""What the YAML may say, and what is said of what it may not."""

import pytest

from llmcourse.core.config import HubTarget
from llmcourse.core.errors import ConfigError, LlmcourseError
from tests.quantize_exl2.builders import config

WHOLE = HubTarget(repo="me/name-exl2")


def refused(text: str) -> LlmcourseError:
    with pytest.raises(LlmcourseError) as caught:
        config(text)
    return caught.value


@pytest.mark.parametrize(
    ("written", "name"),
    [("4.25", "4.25bpw"), ("3.0", "3.0bpw"), ("4", "4.0bpw"), ("2.55", "2.55bpw"), ("'5.5'", "5.5bpw")],
)
def test_the_exact_decimal_names_branch_and_folder(written: str, name: str) -> None:
    read = config(f"{{model: m, bits_per_weight: {written}}}")
    place = read.target_of(name, WHOLE)
    assert (place.repo, place.revision) == ("me/name-exl2", name)
    assert f"{read.bits_per_weight[0]!r}bpw" == name


def test_repositories_are_named_as_people_name_them() -> None:
    read = config("{model: m, bits_per_weight: 4.25, hub: {repo: me/name-exl2, layout: repos}}")
    assert read.target_of("4.25bpw", WHOLE).repo == "me/name-4.25bpw-exl2"
    assert read.target_of("4.25bpw", HubTarget(repo="me/name")).repo == "me/name-4.25bpw-exl2"
    assert read.target_of("measurement", WHOLE) == WHOLE


def test_the_layout_may_be_said_without_a_repository() -> None:
    read = config("{model: org/tiny, bits_per_weight: 4, hub: {layout: repos}}")
    assert read.target_of("4.0bpw", HubTarget(repo="me/name")).repo == "me/name-4.0bpw-exl2"


def test_the_same_bits_are_made_once() -> None:
    assert config("{model: m, bits_per_weight: [4, 4.0, 3.5]}").bits_per_weight == [4.0, 3.5]


@pytest.mark.parametrize("bits", ["1.9", "8.01", "[4.0, 16]"])
def test_bits_out_of_reach_are_refused(bits: str) -> None:
    error = refused(f"{{model: m, bits_per_weight: {bits}}}")
    assert isinstance(error, ConfigError) and "cannot be reached" in error.what and "2 to 8" in error.fix


@pytest.mark.parametrize("bits", ["7", "16", "1"])
def test_bits_of_the_head_are_those_that_the_library_has(bits: str) -> None:
    assert "head_bits" in refused(f"{{model: m, bits_per_weight: 4, head_bits: {bits}}}").what


def test_an_unknown_key_gets_a_proposal() -> None:
    assert refused("{model: m, bits_per_weight: 4, head_bit: 6}").fix == "Did you mean 'head_bits'?"


def test_rows_of_the_built_in_set_are_cut_where_it_can_be_cut() -> None:
    error = refused("{model: m, bits_per_weight: 4, measurement_length: 1000}")
    assert "1000" in error.what and "128" in error.fix
    own = "{model: m, bits_per_weight: 4, measurement_length: 1000, calibration: {text: a.txt}}"
    assert config(own).measurement_length == 1000


def test_a_seed_that_would_do_nothing_is_refused() -> None:
    error = refused("{model: m, bits_per_weight: 4, calibration: {text: a.txt, seed: 3}}")
    assert "seed" in error.what
    assert config("{model: m, bits_per_weight: 4, calibration: {dataset: a/b, seed: 3}}").calibration


def test_a_file_is_another_name_of_a_text() -> None:
    read = config("{model: m, bits_per_weight: 4, calibration: {file: c4.parquet}}")
    assert list(read.files()) == ["c4.parquet"] and read.calibration and read.calibration.samples == 100


def test_a_config_survives_the_way_to_the_child() -> None:
    read = config("{model: m, bits_per_weight: 4, calibration: {file: c4.parquet}, hub: {repo: me/x}}")
    assert type(read)(**read.model_dump(mode="json")) == read


def test_none_means_no_measurement() -> None:
    assert config("{model: org/name, bits_per_weight: 4, quality: none}").quality is None
