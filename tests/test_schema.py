"""The schemas take what the commands take, and refuse what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from llmcourse.cli import READERS
from llmcourse.schema import schema_of

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
VALIDATORS = {name: Draft202012Validator(schema_of(name)) for name in READERS}


@pytest.mark.parametrize("command", VALIDATORS)
def test_a_schema_is_one(command: str) -> None:
    Draft202012Validator.check_schema(schema_of(command))


@pytest.mark.parametrize("command", VALIDATORS)
def test_the_schemas_in_the_repository_are_current(command: str) -> None:
    kept = json.loads((ROOT / "docs" / "schemas" / f"{command}.json").read_text())
    assert kept == schema_of(command), "run `make schemas`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_we_ship_names_its_schema(path: Path) -> None:
    line = path.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / line).resolve() == ROOT / "docs" / "schemas" / f"{path.parent.name}.json"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_we_ship_validates(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        assert [error.message for error in VALIDATORS[path.parent.name].iter_errors(document)] == []


@pytest.mark.parametrize(
    ("command", "document"),
    [
        (
            "quantize-gguf",
            {"model": "org/name", "types": "Q4_K_M", "quality": "none", "imatrix": "a.imatrix"},
        ),
        ("quantize-exl2", {"model": "org/name", "bits_per_weight": 4.25}),
        ("quantize-gptq", {"model": "org/name", "calibration": {"file": "a.txt"}, "modules": {"mlp": False}}),
        ("autoeval", {"model": ["a", "b"], "tasks": ["arc_easy"]}),
        ("family-tree", {"model": "org/name", "hub": True}),
        ("merge", {"merge": "mergekit.yml", "hub": {"repo": "me/merged"}}),
        ("merge", {"models": [{"model": "org/a"}], "merge_method": "linear", "hub": {"repo": "me/merged"}}),
    ],
)
def test_short_forms_validate(command: str, document: dict[str, Any]) -> None:
    assert [error.message for error in VALIDATORS[command].iter_errors(document)] == []


@pytest.mark.parametrize(
    ("command", "document"),
    [
        ("quantize-gguf", {"model": "org/name", "typs": ["Q4_K_M"]}),
        ("quantize-gguf", {"types": ["Q4_K_M"]}),
        ("quantize-exl2", {"model": "org/name", "hub": {"private": True}}),
        ("quantize-gptq", {"model": "org/name", "method": "gtpq"}),
        ("autoeval", {"model": {"name": "a"}}),
        ("family-tree", {"model": "org/name", "direction": "sideways"}),
        ("merge", {"models": [{"model": "org/a"}]}),
        ("merge", {"merge": [], "hub": {"repo": "me/merged"}}),
        ("merge", {"merge": "mergekit.yml", "source": "filled when read"}),
    ],
)
def test_wrong_configs_do_not(command: str, document: dict[str, Any]) -> None:
    assert not VALIDATORS[command].is_valid(document)
