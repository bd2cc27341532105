"""What we wrote down about mergekit equals the mergekit that is installed.

mergekit takes seconds and torch to import, so one process tells all of it, once per test run.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from pydantic import BaseModel

from llmcourse.core.extras import library_version
from llmcourse.merge import recipe
from llmcourse.merge.methods import MERGEKIT_VERSION, METHODS
from llmcourse.merge.options import DTYPES, MergeOptions
from llmcourse.merge.recipe_checks import CHAT_TEMPLATES, MOE_ARCHITECTURES

Told = dict[str, Any]

TELL = """
import importlib.resources, json, typing
from mergekit import config, options
from mergekit.common import ModelReference, dtype_from_name
from mergekit.merge_methods.registry import registered_methods
from mergekit.moe import ALL_OUTPUT_ARCHITECTURES, config as moe
from mergekit.tokenizer import config as tokenizer

def kind(type_):
    given = [arg for arg in typing.get_args(type_) if arg is not type(None)]
    return (given[0] if given else type_).__name__

def method(spec):
    parameters = {p.name: [kind(p.value_type), p.scope.value, p.required] for p in spec.parameters}
    contract = {k: getattr(v, "value", v) for k, v in vars(spec.contract).items()}
    names = {"title": spec.pretty_name, "url": spec.reference_url}
    return names | {"inputs": contract, "parameters": parameters}

def knows(name):
    try:
        return dtype_from_name(name) is not None
    except RuntimeError:
        return False

templates = importlib.resources.files("mergekit._data.chat_templates").iterdir()
schemas = [ModelReference, config.MergeConfiguration, config.InputModelDefinition,
           config.InputSliceDefinition, config.OutputSliceDefinition, config.OutputModuleDefinition,
           moe.MoEMergeConfig, moe.Expert,
           tokenizer.TokenizerConfig, tokenizer.TokenEmbeddingConfig]
names = ["bfloat16", "float16", "float32", "float64", "int8", "float8_e4m3fn", "bf16", "half", "float"]
print(json.dumps({
    "methods": {m.spec.name: method(m.spec) for m in registered_methods()},
    "options": {name: field.default for name, field in options.MergeOptions.model_fields.items()},
    "dtypes": [name for name in names if knows(name)],
    "templates": sorted(t.name.removesuffix(".jinja") for t in templates if t.name.endswith(".jinja")),
    "schemas": {s.__name__: sorted(s.model_fields) for s in schemas},
    "architectures": [architecture.name().lower() for architecture in ALL_OUTPUT_ARCHITECTURES],
    "required": {s.__name__: sorted(n for n, f in s.model_fields.items() if f.is_required())
                 for s in schemas},
}))
"""


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Told:
    """What the installed mergekit says of itself; one process asks it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    answer = (base if worker_id == "master" else base.parent) / "mergekit.json"
    with FileLock(f"{answer}.lock"):
        if not answer.exists():
            asked = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)
            answer.write_text(asked.stdout.splitlines()[-1])
    return dict(json.loads(Path(answer).read_text()))


def test_the_rules_are_those_of_the_installed_version() -> None:
    assert library_version("mergekit") == MERGEKIT_VERSION


def test_methods_are_those_of_mergekit(told: Told) -> None:
    assert set(METHODS) == set(told["methods"])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_title_and_source_are_mergekit_s(told: Told, name: str) -> None:
    theirs = told["methods"][name]
    assert (METHODS[name].title, METHODS[name].url) == (theirs["title"], theirs["url"])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_as_many_models_as_in_mergekit(told: Told, name: str) -> None:
    ours = METHODS[name]
    assert told["methods"][name]["inputs"] == {
        "base": ours.base,
        "min_inputs": ours.min_inputs,
        "max_inputs": ours.max_inputs,
        "min_non_base": ours.min_non_base,
        "max_non_base": ours.max_non_base,
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_parameters_of_mergekit(told: Told, name: str) -> None:
    ours = METHODS[name].parameters
    listed = {key: [each.kind.__name__, each.scope, each.is_required] for key, each in ours.items()}
    assert listed == told["methods"][name]["parameters"]


def test_options_and_their_defaults_are_mergekit_s(told: Told) -> None:
    assert MergeOptions().model_dump() == told["options"]


def test_dtypes_are_those_that_mergekit_knows(told: Told) -> None:
    assert list(DTYPES) == told["dtypes"]


def test_chat_templates_are_those_that_mergekit_has(told: Told) -> None:
    assert sorted(CHAT_TEMPLATES) == sorted([*told["templates"], "auto"])


def test_mixtures_are_those_that_mergekit_makes(told: Told) -> None:
    assert list(MOE_ARCHITECTURES) == told["architectures"]


SCHEMAS: dict[str, type[BaseModel]] = {
    "ModelReference": recipe.Reference,
    "MergeConfiguration": recipe.Recipe,
    "InputModelDefinition": recipe.InputModel,
    "InputSliceDefinition": recipe.InputSlice,
    "OutputSliceDefinition": recipe.OutputSlice,
    "OutputModuleDefinition": recipe.OutputModule,
    "MoEMergeConfig": recipe.Moe,
    "Expert": recipe.Expert,
    "TokenizerConfig": recipe.Tokenizer,
    "TokenEmbeddingConfig": recipe.TokenSource,
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_our_schema_has_every_key_of_mergekit_s_and_only_a_stage_s_name_more(told: Told, name: str) -> None:
    fields = SCHEMAS[name].model_fields
    more = {"name"} if SCHEMAS[name] in (recipe.Recipe, recipe.Moe) else set()
    assert set(fields) - more == set(told["schemas"][name])
    required = {key for key, field in fields.items() if field.is_required()}
    assert required == set(told["required"][name])
