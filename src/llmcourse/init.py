"""Writes one of the configs that come with the program to where the user stands."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from llmcourse.core.errors import PlanError, unknown_name
from llmcourse.core.workspace import write_json
from llmcourse.schema import schema_of

# The one that most people want first.
_USUAL = {"merge": "slerp", "autoeval": "tiny", "family-tree": "ancestors", "run": "nightly"}
# What the YAML extension of editors reads.
_SCHEMA_LINE = "# yaml-language-server: $schema="


def configs_folder() -> Path:
    """Inside the package when it was installed from a wheel, else at the root of the repository."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent.parent / "configs"


def summaries(commands: Sequence[str]) -> dict[str, str]:
    """`command name` of each config, with the first line of its comment."""
    paths = [path for command in commands for path in sorted((configs_folder() / command).glob("*.yaml"))]
    return {f"{path.parent.name} {path.stem}": _first_sentence(path) for path in paths}


def write(command: str, name: str | None, output: str | None) -> str:
    """Write it, and return where; with `-` nothing is written, and the text itself is returned.

    The command's JSON Schema is written beside it, for editors, unless there is a file of that name.

    Raises:
        ConfigError: there is no config of that name.
        PlanError: something of that name is there already.
    """
    name = name or _USUAL.get(command, "usual")
    source = configs_folder() / command / f"{name}.yaml"
    names = sorted(path.stem for path in source.parent.glob("*.yaml"))
    if name not in names:
        raise unknown_name(f"config of {command}", name, names)
    target = Path(f"{name}.yaml" if output in (None, "-") else output)
    if output and (output.endswith("/") or target.is_dir()):
        target /= f"{name}.yaml"
    # Its header shows how to run it from the repository; what is shown here is where it lies now.
    text = source.read_text(encoding="utf-8").replace(f"configs/{command}/{name}.yaml", str(target))
    first, _, text = text.partition("\n")
    assert first.startswith(_SCHEMA_LINE), "every config we ship names its schema"
    if output == "-":
        return text
    schema = target.with_name(f"{command}.schema.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(f"{_SCHEMA_LINE}{schema.name}\n{text}")
    except FileExistsError:
        if not target.parent.is_dir():
            what = f"{target.parent} is no folder."
            raise PlanError(what, "Give another place with -o.", str(target)) from None
        raise PlanError(f"{target} is there already.", "Give another name with -o.", str(target)) from None
    if not schema.exists():
        write_json(schema, schema_of(command))
    return str(target)


def _first_sentence(path: Path) -> str:
    """Of its comment, over as many lines as it takes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = [line.removeprefix("#").strip() for line in comment if not line.startswith(_SCHEMA_LINE)]
    paragraph = " ".join(itertools.takewhile(bool, text))
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", paragraph)[0]
