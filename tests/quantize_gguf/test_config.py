"""What a config of quantize-gguf may say, and how it is read."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from llmcourse.core.config import load
from llmcourse.core.errors import LlmcourseError
from llmcourse.quantize_gguf.config import DEFAULT_TYPES, Config
from tests.quantize_gguf.builders import config

EVERY_KEY = """\
model: org/tiny
types: [Q8_0, iq2_m]
imatrix: {text: calibration.txt, chunks: 7}
quality: {text: held-out.txt, chunks: 3}
tensor_types: {attn_v: q8_0, 'ffn_(up|down)': Q6_K}
split: 20G
pre_tokenizer: qwen2
converter: ~/llama.cpp
base: org/base
keep_local: false
allow_pickle: true
card: {license: mit, tags: [mine]}
output: out
hub: {repo: me/tiny-GGUF, private: true, revision: dev}
"""


def read(folder: Path, text: str, *overrides: str) -> Config:
    """The config as it is read in its own folder, where relative paths stay as they are."""
    (folder / "g.yaml").write_text(text, encoding="utf-8")
    with contextlib.chdir(folder):
        return load(Config, "g.yaml", overrides)


def refusal(folder: Path, text: str, *overrides: str) -> LlmcourseError:
    with pytest.raises(LlmcourseError) as caught:
        read(folder, text, *overrides)
    return caught.value


def test_every_key_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, EVERY_KEY)
    assert found.types == ["Q8_0", "IQ2_M"]
    assert found.imatrix and (found.imatrix.text, found.imatrix.chunks) == ("calibration.txt", 7)
    assert found.quality and (found.quality.text, found.quality.chunks) == ("held-out.txt", 3)
    assert found.tensor_types == {"attn_v": "Q8_0", "ffn_(up|down)": "Q6_K"}
    assert found.split_bytes == 20_000_000_000
    assert (found.pre_tokenizer, found.converter, found.base) == ("qwen2", "~/llama.cpp", "org/base")
    assert (found.keep_local, found.allow_pickle) == (False, True)
    assert (found.card.license, found.card.tags) == ("mit", ["mine"])
    assert found.hub and (found.hub.repo, found.hub.private, found.hub.revision) == (
        "me/tiny-GGUF",
        True,
        "dev",
    )
    assert list(found.models()) == ["org/tiny", "org/base"]
    assert list(found.files()) == ["calibration.txt", "held-out.txt"]


def test_a_model_is_all_that_must_be_said() -> None:
    found = config("model: org/tiny")
    assert tuple(found.types) == DEFAULT_TYPES == ("Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
    assert (found.imatrix, found.quality, found.split_bytes, found.keep_local) == (None, None, 0, True)
    assert found.files() == {}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[q4_k_m, Q8_0]", ["Q4_K_M", "Q8_0"]),
        ("[Q4_K]", ["Q4_K_M"]),
        ("[q3_k, Q5_K]", ["Q3_K_M", "Q5_K_M"]),
        ("[Q8_0, q8_0, Q8_0]", ["Q8_0"]),
        ("[Q4_K, Q4_K_M]", ["Q4_K_M"]),
        ("[f16, bf16, f32, iq4_xs]", ["F16", "BF16", "F32", "IQ4_XS"]),
        ("[' Q6_K ']", ["Q6_K"]),
    ],
)
def test_types_are_read_in_any_letter_case_by_any_name_and_once(written: str, read: list[str]) -> None:
    assert config(f"model: org/tiny\ntypes: {written}").types == read


@pytest.mark.parametrize("none", ["none", "None", "null", "~", "NONE"])
def test_none_means_neither_imatrix_nor_quality(none: str) -> None:
    found = config(f"model: org/tiny\nimatrix: {none}\nquality: {none}")
    assert (found.imatrix, found.quality) == (None, None)


@pytest.mark.parametrize("written", ["ready.gguf", "{file: ready.gguf}"])
def test_an_imatrix_may_be_a_file_that_is_ready(written: str) -> None:
    found = config(f"model: org/tiny\nimatrix: {written}").imatrix
    assert found and (found.file, found.text) == ("ready.gguf", None)


def test_a_text_alone_is_one_to_measure_on() -> None:
    found = config("model: org/tiny\nquality: held-out.txt").quality
    assert found and (found.text, found.chunks) == ("held-out.txt", 50)


@pytest.mark.parametrize(
    ("written", "size"), [("20G", 20_000_000_000), ("500M", 500_000_000), ("1M", 1_000_000)]
)
def test_a_split_is_written_as_llama_cpp_s_own_tool_has_it(written: str, size: int) -> None:
    assert config(f"model: org/tiny\nsplit: {written}").split_bytes == size


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("split: 20X", "split '20X' is no size"),
        ("split: 0G", "split '0G' is no size"),
        ("split: -1G", "split '-1G' is no size"),
        ("split: 20GB", "split '20GB' is no size"),
        ("split: 20", "split"),
        ("imatrix: {text: a.txt, file: b.gguf}", "imatrix needs a text or a file"),
        ("imatrix: {}", "imatrix needs a text or a file"),
        ("imatrix: {text: a.txt, chunks: 0}", "imatrix.chunks is 0."),
        ("imatrix: {text: a.txt, chunk: 4}", "'chunk' is not a known key"),
        ("quality: {chunks: 4}", "quality.text is missing"),
        ("quality: {text: a.txt, chunks: many}", "quality.chunks"),
        ("quality: 7", "quality"),
        ("tensor_types: {'attn_(v': Q8_0}", "'attn_(v' is no regular expression"),
        ("tensor_types: [Q8_0]", "tensor_types"),
        ("types: []", "types"),
        ("types: [4]", "types.0"),
        ("typs: [Q8_0]", "'typs' is not a known key"),
        ("keep_local: perhaps", "keep_local"),
        ("card: {licence: mit}", "'licence' is not a known key"),
        ("hub: {repository: me/x}", "'repository' is not a known key"),
    ],
)
def test_what_means_nothing_is_refused_where_it_is_written(tmp_path: Path, text: str, what: str) -> None:
    refusals = refusal(tmp_path, f"model: org/tiny\n{text}\n")
    errors: Any = getattr(refusals, "errors", (refusals,))
    assert any(error.what.startswith(what) for error in errors), [error.what for error in errors]
    assert all(error.exit_code == 2 and error.fix for error in errors)
    assert all(str(error.where).startswith("g.yaml:2:") for error in errors if "missing" not in what)


def test_a_model_must_be_named(tmp_path: Path) -> None:
    error = refusal(tmp_path, "types: [Q8_0]\n")
    assert (error.what, error.exit_code) == ("model is missing.", 2)


def test_several_mistakes_are_all_said_at_once(tmp_path: Path) -> None:
    error = refusal(tmp_path, "model: org/tiny\nsplit: 20X\nimatrix: {}\ntypes: []\n")
    assert len(getattr(error, "errors", ())) == 3


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("types=[q8_0]", "types", ["Q8_0"]),
        ("quality=none", "quality", None),
        ("imatrix=none", "imatrix", None),
        ("keep_local=true", "keep_local", True),
        ("split=null", "split", None),
        ("model=org/other", "model", "org/other"),
    ],
)
def test_an_override_wins_over_the_file(tmp_path: Path, override: str, key: str, value: object) -> None:
    assert getattr(read(tmp_path, EVERY_KEY, override), key) == value


def test_an_override_reaches_into_a_part(tmp_path: Path) -> None:
    found = read(tmp_path, EVERY_KEY, "quality.chunks=99", "tensor_types.ffn_up=Q5_K", "hub.private=false")
    assert found.quality and found.quality.chunks == 99
    assert found.tensor_types["ffn_up"] == "Q5_K"
    assert found.hub and not found.hub.private


def test_an_override_makes_a_part_that_is_not_written(tmp_path: Path) -> None:
    found = read(tmp_path, "model: org/tiny\n", "imatrix.text=calibration.txt", "imatrix.chunks=5")
    assert found.imatrix and (found.imatrix.text, found.imatrix.chunks) == ("calibration.txt", 5)


def test_a_home_folder_in_a_text_s_path_is_found() -> None:
    found = config("model: org/tiny\nquality: {text: ~/held-out.txt}")
    assert found.files() == {"~/held-out.txt": Path.home() / "held-out.txt"}


@pytest.mark.parametrize("changed", ["types=[Q6_K]", "quality=none", "keep_local=true", "card.tags=[x]"])
def test_what_changes_no_file_that_is_made_is_known(tmp_path: Path, changed: str) -> None:
    left_out = set(Config.NOT_COMPUTED)
    first, second = read(tmp_path, EVERY_KEY), read(tmp_path, EVERY_KEY, changed)
    assert first != second
    assert first.model_dump(exclude=left_out) == second.model_dump(exclude=left_out)
