"""The pages are true: references, commands that are shown, errors that are explained."""

import re
import shlex
from functools import cache
from typing import Any

import pytest
from typer.main import get_command

from llmcourse.cli import READERS, app
from llmcourse.schema import schema_of
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, script

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def test_the_references_are_what_the_program_says() -> None:
    for name, text in script("reference").pages().items():
        assert (DOCS / "reference" / name).read_text() == text, "run `make docs`"


def test_every_key_is_described() -> None:
    described = script("reference").described
    for command in READERS:
        schema = schema_of(command)
        definitions = schema["$defs"]
        for name, part in {"": schema, **definitions}.items():
            for form in (part, *part.get("anyOf", ())):
                for key, value in form.get("properties", {}).items():
                    text = described(value, definitions).get("description", "")
                    assert len(text) >= 10, f"{command} {name} {key} says nothing of itself"


def test_every_option_is_described() -> None:
    group: Any = get_command(app)
    for name, command in group.commands.items():
        for parameter in command.params:
            assert len(parameter.help or "") >= 10, f"{name} {parameter.name} says nothing of itself"


def command_lines() -> list[tuple[str, str]]:
    """Every `llmcourse …` that a page shows in a block for a shell."""
    found = []
    for page in PAGES:
        if page.parent.name == "reference":
            continue
        for block in blocks(page, "bash", "make", "yaml"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix("- run: ").removeprefix("$ ")
                for part in re.split(r"\s\|\s", line):
                    if part.strip().startswith("llmcourse "):
                        found.append((page.name, part.strip()))
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_that_is_shown_is_one(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    group: Any = get_command(app)
    name = " ".join(words[:2]) if " ".join(words[:2]) in group.commands else words[0]
    assert name in group.commands or name.startswith("-"), name
    if name in group.commands:
        command = group.commands[name]
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        used = [word for word in words[len(name.split()) :] if re.fullmatch(r"-\w|--[\w-]+", word)]
        assert set(used) <= known | {"-h", "--help"}


def quoted_errors() -> list[str]:
    text = (DOCS / "troubleshooting.md").read_text()
    return [line.removeprefix("> ") for line in text.splitlines() if line.startswith("> ")]


@pytest.mark.parametrize("sentence", quoted_errors())
def test_an_error_that_is_explained_is_one_that_is_told(sentence: str) -> None:
    parts = [part.strip(" '.()") for part in sentence.split("…")]
    assert max(map(len, parts)) >= 7, "too little to be found again"
    sources = sources_text()
    for part in parts:
        assert part in sources, part


@cache
def sources_text() -> str:
    """All strings of the sources, joined as Python joins them, without what is filled in."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        code = re.sub(r'"\s*\n\s*f?"', "", path.read_text())
        texts += [re.sub(r"\{[^{}]*\}", "…", found) for found in _STRING.findall(code)]
    return "\n".join(texts)
