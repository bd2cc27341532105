"""JSON Schema of what the YAML of a command may say, for editors, other programs and the reference pages."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from llmcourse.core.config import CommandConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What their validators take beside a mapping: `model: org/name`, `quality: none`, `hub: true`.
_SHORT_FORMS: dict[str, dict[str, Any]] = {
    "Reference": {"type": "string"},
    "Task": {"type": "string"},
    "Quality": {"type": "string"},
    "Imatrix": {"type": "string"},
    "CardTarget": {"type": "boolean"},
    "ModuleWishes": {"const": False},
}


class _Written(GenerateJsonSchema):
    """What people may write, which is more than what the model holds: one value where it holds a list."""

    schema_dialect = DIALECT

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        for form in inner.get("anyOf", [inner]):
            if form.get("type") == "array" and "items" in form:
                return {"anyOf": [form["items"], *inner.get("anyOf", [inner])]}
        return inner

    def generate(
        self, schema: core_schema.CoreSchema, mode: JsonSchemaMode = "validation"
    ) -> JsonSchemaValue:
        return super().generate(schema, mode) | {"$schema": DIALECT}


def schema_of(command: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one document of a config of `command`, descriptions included.

    For `merge` a document is mergekit's own, with our keys beside it where wanted, or the wrapper around
    `merge:`. It is stricter there than the command, which ignores keys that mergekit would ignore.

    Raises:
        ModuleNotFoundError: there is no such command.
    """
    name = f"llmcourse.{command.replace('-', '_')}.config"
    model: type[CommandConfig] = import_module(name).Config
    schema = model.model_json_schema(schema_generator=_Written)
    _without_excluded(schema, (key for key, field in model.model_fields.items() if field.exclude))
    for key, short in _SHORT_FORMS.items():
        if key in schema["$defs"]:
            schema["$defs"][key] = {"anyOf": [short, schema["$defs"][key]]}
    calibration = schema["$defs"].get("Calibration")
    if calibration:
        calibration["properties"]["file"] = calibration["properties"]["text"]  # another name of it
    if command == "merge":
        schema = _of_merges(schema)
    return schema | {"title": f"llmcourse {command}"}


def _without_excluded(schema: dict[str, Any], names: Iterable[str]) -> None:
    """Fields that are filled when a config is read are no keys of it."""
    for name in names:
        schema["properties"].pop(name, None)


def _of_merges(wrapper: dict[str, Any]) -> dict[str, Any]:
    """The wrapper, or a document of mergekit with the wrapper's keys beside its own."""
    definitions = wrapper.pop("$defs")
    stage = wrapper["properties"]["merge"]["items"]
    wrapper["properties"]["merge"] = wrapper["properties"]["merge"] | {
        "anyOf": [{"type": "string"}, stage, {"type": "array", "minItems": 1, "items": stage}]
    }
    for key in ("type", "items", "minItems"):
        wrapper["properties"]["merge"].pop(key, None)
    ours = {key: value for key, value in wrapper["properties"].items() if key != "merge"}
    for name in ("Recipe", "Moe"):
        definitions[name]["properties"] = ours | definitions[name]["properties"]
    return {"$schema": DIALECT, "$defs": definitions | {"Wrapper": wrapper},
            "anyOf": [stage, {"$ref": "#/$defs/Wrapper"}]}  # fmt: skip
