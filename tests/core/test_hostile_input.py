"""Damaged or hostile files are one sentence, never a traceback: each of these once was one."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from llmcourse.cli import COMMANDS
from llmcourse.core.card import CardMetadata
from llmcourse.core.card_head import card_metadata
from llmcourse.core.config import load
from llmcourse.core.documents import parse
from llmcourse.core.errors import ConfigError, LlmcourseError, PlanError
from llmcourse.core.model import ModelRef, read_local
from tests.model_folders import shard_index, with_header, write_model


@pytest.mark.parametrize(
    "text",
    ["a: \x07", "a: \x00", "[" * 3000, "a: !!timestamp 1", "a: !!bool x", "a: !!int ''", "a: !!float [1]"],
    ids=["bell", "nul", "deep", "no time", "no truth", "no number", "no float"],
)
def test_yaml_that_cannot_be_read_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, "m.yaml")


@pytest.mark.parametrize("command", [*COMMANDS, "family-tree"])
@pytest.mark.parametrize("text", ["just words", "- a\n- b\n", "model: ''\n", "model: >-\n"])
def test_a_config_of_no_keys_or_without_a_model_is_a_config_error(
    command: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    config = import_module(f"llmcourse.{command.replace('-', '_')}.config").Config
    with pytest.raises(LlmcourseError) as caught:
        load(config, str(tmp_path / "c.yaml"))
    assert caught.value.exit_code == 2 and caught.value.what and caught.value.fix


def test_an_anchored_mapping_with_a_merge_key_can_be_used_again() -> None:
    [document] = parse("base: &b {x: 1}\none: &o\n  <<: *b\n  x: 2\ntwo: *o\n", "m.yaml")
    assert document.data["two"] == {"x": 2}


@pytest.mark.parametrize("weight_map", [None, [], "x", 3, {}])
def test_a_shard_index_of_another_shape_is_refused(weight_map: object, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    shard_index(folder, weight_map)
    with pytest.raises(PlanError, match="names no files"):
        read_local(ModelRef.parse(str(folder)))


@pytest.mark.parametrize(
    "header", [b"null", b'"s"', b"[1]", b"[" * 5000], ids=["null", "text", "list", "deep"]
)
def test_a_header_that_is_no_object_is_refused(header: bytes, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(with_header(header))
    with pytest.raises(PlanError, match="not a whole safetensors file"):
        read_local(ModelRef.parse(str(folder)))


def test_a_card_in_another_encoding_tells_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "README.md").write_bytes("---\nlicense: mit\n---\nür".encode("latin-1"))
    assert read_local(ModelRef.parse(str(folder))).card == {}


@pytest.mark.parametrize("hub", ["x", {"a": 1}, 3, None, {"repo": 5}])
def test_a_strange_manifest_names_no_origin(hub: object, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "llmcourse.json").write_text(json.dumps({"hub": hub}))
    assert read_local(ModelRef.parse(str(folder))).hub_id is None


def test_dashes_inside_a_card_head_do_not_end_it() -> None:
    head = card_metadata("---\nbase_model: a/b---c\nlicense: mit\n---\n# Title\n")
    assert head == {"base_model": "a/b---c", "license": "mit"}


@pytest.mark.parametrize(
    "head", ["date: 2024-13-45", "date: !!timestamp x", "a: !!bool x", "a: " + "[" * 3000]
)
def test_a_card_head_that_yaml_trips_over_tells_nothing(head: str) -> None:
    assert card_metadata(f"---\n{head}\n---\n") == {}


def test_a_configuration_without_end_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(PlanError, match="damaged"):
        read_local(ModelRef.parse(str(folder)))


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool x", "[" * 3000])
def test_an_override_that_yaml_trips_over_is_a_config_error(value: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: org/name")
    config = import_module("llmcourse.quantize_gptq.config").Config
    with pytest.raises(ConfigError, match="not YAML"):
        load(config, str(tmp_path / "c.yaml"), [f"bits={value}"])


@pytest.mark.parametrize("name", ["./x", "../x", "a/..", "-a/b", "a/b\n", "/a/b", "https://x/y"])
def test_what_is_no_hub_id_never_reaches_a_cards_base_model(name: str) -> None:
    with pytest.raises(ValueError, match="no Hub id"):
        CardMetadata(base_model=[name])
