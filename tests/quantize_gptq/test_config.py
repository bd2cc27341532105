"""What the YAML of quantize-gptq may say."""

import pytest

from llmcourse.core.errors import ConfigError, LlmcourseError
from tests.quantize_gptq.builders import config


def test_defaults_are_the_course_s() -> None:
    read = config("model: org/name")
    assert (read.bits, read.group_size, read.desc_act, read.damp_percent, read.symmetric) == (
        4, 128, False, 0.01, True,
    )  # fmt: skip
    assert (read.calibration.dataset, read.calibration.name) == ("allenai/c4", "en")
    assert (read.calibration.samples, read.calibration.length) == (128, 2048)


def test_a_local_calibration_leaves_no_data_set() -> None:
    read = config("{model: org/name, calibration: {text: a.txt}}")
    assert read.datasets() == () and list(read.files()) == ["a.txt"]


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("bits: 5", "5 bits have a layout that only gptqmodel reads", "Use 4 or 8 bits"),
        ("bits: 16", "bits cannot be 16", "Use 2, 3, 4 or 8"),
        ("bits: four", "bits cannot be 'four'", "Use 2, 3, 4 or 8"),
        ("bits: true", "bits cannot be True", "Use 2, 3, 4 or 8"),
        ("group_size: 0", "no groups of 0 weights", "or -1 for a whole row"),
        ("group_size: 96", "no groups of 96 weights", "or -1 for a whole row"),
        ("group_size: true", "no groups of True weights", "16, 32, 64, 128"),
        ("modules: {down_proj: {group_size: 48}}", "no groups of 48 weights", "or -1"),
        ("modules: {down_proj: }", "'down_proj' wishes nothing", "Write false"),
        ("{method: awq, modules: {down_proj: {bits: 8}}}", "awq is of 4 bits", "method: gptq"),
        ("quality: {text: held.parquet}", "'held.parquet' is no plain text", "Give a text file"),
        ("damp_percent: 0", "damp_percent", ""),
        ("damp_percent: 1.5", "damp_percent", ""),
        ("modules: {'(': {bits: 8}}", "'(' is no regular expression", "escape it"),
        ("modules: {down_proj: {bit: 8}}", "'bit' is not a known key", "'bits'"),
        ("{method: awq, desc_act: true}", "awq has no desc_act", "method: gptq"),
        ("{method: awq, bits: 8}", "awq is of 4 bits", "bits: 4"),
        ("{backend: auto-gptq, method: awq}", "auto-gptq knows no method", "backend: gptqmodel"),
        ("{backend: auto-gptq, dry_run: mock}", "auto-gptq knows no dry_run", "backend: gptqmodel"),
        ("calibration: {samples: 4}", "calibration needs a dataset or a text", "allenai/c4"),
        ("group-size: 64", "'group-size' is not a known key", "'group_size'"),
        ("quality: {text: a.txt, chunks: 0}", "chunks", ""),
    ],
)
def test_a_mistake_is_named_with_its_mend(text: str, what: str, fix: str) -> None:
    body = text[1:-1] if text.startswith("{") else text
    with pytest.raises(LlmcourseError) as caught:
        config(f"{{model: org/name, {body}}}")
    assert isinstance(caught.value, ConfigError)
    assert what.lower() in caught.value.what.lower() and fix in caught.value.fix


def test_expressions_are_looked_for_anywhere_in_a_name_and_false_leaves_a_module() -> None:
    read = config("{model: org/name, modules: {down_proj: {bits: 8}, 'layers.0.': false}}")
    assert read.dynamic == {"+:.*(?:down_proj)": {"bits": 8}, "-:.*(?:layers.0.)": {}}


def test_numbers_in_quotes_are_numbers() -> None:
    quoted = config("""{model: org/name, bits: '8', group_size: '-1', modules: {v_proj: {bits: '4'}}}""")
    assert (quoted.bits, quoted.group_size) == (8, -1)
    assert quoted.dynamic["+:.*(?:v_proj)"] == {"bits": 4}


def test_none_means_no_measurement_and_a_path_alone_is_a_text() -> None:
    assert config("{model: org/name, quality: none}").quality is None
    short = config("{model: org/name, quality: held.txt}").quality
    assert short and (short.text, short.chunks) == ("held.txt", 50)


def test_the_measurement_and_the_card_change_no_weight() -> None:
    assert {"quality", "card", "output", "hub"} <= config("model: org/name").NOT_COMPUTED


def test_a_config_is_read_again_from_what_a_job_says_of_it() -> None:
    read = config("{model: org/name, modules: {down_proj: {bits: 8}, v_proj: false}}")
    assert type(read)(**read.model_dump(mode="json")) == read
