"""Write docs/reference/: every command with its options, and every key of every config.

The first is what the program says of itself, the second comes from the JSON Schemas of the configs.

Usage: python scripts/reference.py
"""

import json
from pathlib import Path
from typing import Any

from llmcourse.cli import READERS, app
from llmcourse.core.errors import BY_NAME, LlmcourseError
from llmcourse.schema import schema_of

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"
_NOTE = "<!-- Written by scripts/reference.py (`make docs`). -->\n"


def pages() -> dict[str, str]:
    """The text of each page by its name."""
    return {"cli.md": _cli(), "config.md": _config(), "exit-codes.md": _exit_codes()}


def _cli() -> str:
    from typer.main import get_command

    group: Any = get_command(app)
    parts = [_NOTE, "# Commands\n\nWhat `llmcourse COMMAND --help` says.\n"]
    for name, command in group.commands.items():
        parts.append(f"## llmcourse {name}\n\n{command.help}\n")
        parts.append(f"```\nllmcourse {name} {_usage(command)}\n```\n")
        rows = [_row(parameter) for parameter in command.params]
        parts.append("| option | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n")
        examples = (command.epilog or "").removeprefix("Examples:\n\n\b\n")
        lines = [line.strip() for line in examples.splitlines() if line.strip()]
        parts.append("```bash\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def _usage(command: Any) -> str:
    words = [_metavar(each) for each in command.params if each.param_type_name == "argument"]
    return " ".join(["[OPTIONS]", *words])


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_metavar(parameter)}`"
    else:
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        value = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
        name = f"`{names}{value}`"
    text, bracket, default = (parameter.help or "").strip().partition("  [")
    if bracket:  # where "not given" is another thing than the default, the help says what that is
        default = default.rstrip("]")
    elif parameter.default not in (None, False, ()) and parameter.param_type_name == "option":
        default = str(parameter.default)
    if getattr(parameter, "envvar", None):
        text += f" Also `{parameter.envvar}`."
    return f"| {name.replace('|', chr(92) + '|')} | {text} | {default and f'`{default}`'} |"


def _config() -> str:
    parts = [
        _NOTE,
        "# Keys of configs\n",
        "Types are those of JSON Schema; an editor that is given the schema completes and checks the keys.\n",
    ]
    for command in READERS:
        schema = schema_of(command)
        parts.append(f"## {command}\n\n[Its JSON Schema](../schemas/{command}.json).\n")
        tables = _tables(schema)
        for name, table in tables:
            title = f"### {command}: {name}\n" if name else ""
            parts.append(
                title
                + "\n| key | type | default | |\n|---|---|---|---|\n"
                + _linked("\n".join(table), command, [name for name, _ in tables])
                + "\n"
            )
    return "\n".join(parts)


def _linked(rows: str, command: str, names: list[str]) -> str:
    """Names of parts lead to their tables."""
    for name in filter(None, names):
        rows = rows.replace(f"*{name}*", f"[{name}](#{command}-{name.lower()})")
    return rows


def _tables(schema: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Rows of the config itself, then of each part that it has, in the order in which they are met."""
    definitions = schema.get("$defs", {})
    found: dict[str, list[str]] = {}

    def visit(name: str, node: dict[str, Any]) -> None:
        if name in found:
            return
        found[name] = []
        for form in _forms(node):
            for key, value in form.get("properties", {}).items():
                found[name].append(
                    _key_row(key, described(value, definitions), key in form.get("required", ()))
                )
        for form in _forms(node):
            for value in form.get("properties", {}).values():
                for reference in _references(value):
                    visit(reference, definitions[reference])
        if not found[name]:
            del found[name]

    visit("", schema)
    for form in _forms(schema):
        for reference in _references({key: form[key] for key in ("anyOf", "oneOf", "allOf") if key in form}):
            visit(reference, definitions[reference])
    return list(found.items())


def described(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """With the description of what it refers to, which pydantic leaves out of a key that says the same."""
    if "description" in node or "$ref" not in node:
        return node
    return node | {"description": definitions[node["$ref"].rpartition("/")[2]].get("description", "")}


def _forms(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *node.get("anyOf", []), *node.get("oneOf", [])]


def _references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"].rpartition("/")[2]] if "$ref" in node else []
    return own + [name for value in node.values() for name in _references(value)]


def _key_row(key: str, node: dict[str, Any], is_required: bool) -> str:
    default = "required" if is_required else f"`{json.dumps(node['default'])}`" if "default" in node else ""
    text = node.get("description", "")
    cells = (f"`{key}`", _type(node), default, text)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _type(node: dict[str, Any]) -> str:
    if "$ref" in node:
        return f"*{node['$ref'].rpartition('/')[2]}*"
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_type(form) for form in node["anyOf"]))
    kind = node.get("type", "any")
    if kind == "array":
        return f"list of {_type(node.get('items', {}))}"
    if kind == "object" and isinstance(node.get("additionalProperties"), dict):
        return f"mapping to {_type(node['additionalProperties'])}"
    return str(kind)


def _exit_codes() -> str:
    rows = ["| 0 | done, also: was done already |", f"| 1 | {_first_line(LlmcourseError)} |"]
    rows += [f"| {cls.exit_code} | {_first_line(cls)} |" for cls in BY_NAME.values()]
    rows.append("| 130 | interrupted; the same command goes on |")
    return f"{_NOTE}\n# Exit codes\n\n| code | |\n|---|---|\n" + "\n".join(rows) + f"\n\n{_SEVERAL}\n"


_SEVERAL = """What the config says wrongly is 2, whatever finds it: a merge method that does not exist, a task
that lm-eval does not know. Where several things are wrong, all of them are named, and the code is 2 before 4
before 3."""


def _first_line(cls: type[LlmcourseError]) -> str:
    if cls is LlmcourseError:
        return "a bug of llmcourse; `-v` prints its traceback"
    return (cls.__doc__ or "").strip().splitlines()[0]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
